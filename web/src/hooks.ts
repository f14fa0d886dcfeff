/** Hooks that several parts use. */

import { useEffect, useState } from "preact/hooks";
import type { Store, View } from "./live/store";

export function useStore(store: Store): View {
  const [view, setView] = useState(store.current);
  useEffect(() => {
    setView(store.current);
    return store.listen(setView);
  }, [store]);
  return view;
}

/** The part of the address after `#`. */
export function useHash(): string {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const hear = () => setHash(location.hash);
    window.addEventListener("hashchange", hear);
    return () => window.removeEventListener("hashchange", hear);
  }, []);
  return hash;
}

/** A value kept for this tab. */
export function useKept(key: string, first: string): [string, (value: string) => void] {
  const [value, setValue] = useState(sessionStorage.getItem(key) ?? first);
  return [
    value,
    (next) => {
      sessionStorage.setItem(key, next);
      setValue(next);
    },
  ];
}
