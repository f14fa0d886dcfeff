/** The slot map's canvas: as high as its panel, drawn anew when anything moved, whatever the cluster's size. */

import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { find, step } from "./cursor";
import { boxOf, draw, placeAt, type Place } from "./draw";
import type { Layout, Wishes } from "./layout";
import { readPalette, type Palette } from "./palette";
import { sentence } from "./words";

interface SurfaceProps {
  layout: Layout;
  wishes: Wishes;
  names: string[];
  now: string;
  theme: string;
  onWidth: (width: number) => void;
  onOpen: (place: Place, byKey: boolean) => void;
}

const MOST_HEIGHT = 640;

export function Surface(props: SurfaceProps): JSX.Element {
  const { layout } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const state = useRef<{ cursor: Place | null; hovered: Place | null; palette: Palette | null; due: number }>({
    cursor: null, hovered: null, palette: null, due: 0,
  });
  const [spoken, setSpoken] = useState("");
  const latest = useRef(props);
  latest.current = props;
  const height = Math.min(MOST_HEIGHT, Math.max(60, layout.height));

  const paint = () => {
    state.current.due = 0;
    const surface = canvas.current;
    const context = surface?.getContext("2d", { alpha: false });
    if (!surface || !context || !scroller.current) return;
    const { layout: shown, wishes, names, now } = latest.current;
    const pixels = window.devicePixelRatio || 1;
    const width = scroller.current.clientWidth;
    const tall = scroller.current.clientHeight;
    if (surface.width !== Math.round(width * pixels) || surface.height !== Math.round(tall * pixels)) {
      surface.width = Math.round(width * pixels);
      surface.height = Math.round(tall * pixels);
    }
    state.current.palette ??= readPalette(surface);
    const { cursor, hovered, palette } = state.current;
    draw(context, {
      layout: shown, wishes, names, now, palette, pixels, width, height: tall, top: scroller.current.scrollTop,
      cursor: find(shown, cursor), hovered: find(shown, hovered),
    });
  };
  const soon = () => {
    if (!state.current.due) state.current.due = requestAnimationFrame(paint);
  };

  useLayoutEffect(() => {
    const box = scroller.current!;
    const watch = new ResizeObserver(() => {
      latest.current.onWidth(box.clientWidth);
      soon();
    });
    watch.observe(box);
    return () => {
      watch.disconnect();
      cancelAnimationFrame(state.current.due);
    };
  }, []);
  useEffect(soon);
  useEffect(() => {
    state.current.palette = null;
    soon();
  }, [props.theme]);

  const at = (event: MouseEvent): Place | null => {
    const box = canvas.current!.getBoundingClientRect();
    return placeAt(layout, event.clientX - box.left, event.clientY - box.top + scroller.current!.scrollTop);
  };
  const hover = (event: MouseEvent) => {
    const place = at(event);
    state.current.hovered = place;
    const bubble = tip.current!;
    bubble.hidden = place === null;
    if (place) {
      bubble.textContent = sentence(place, props.now);
      const box = scroller.current!.getBoundingClientRect();
      const x = Math.min(event.clientX - box.left + 12, Math.max(0, box.width - bubble.offsetWidth - 4));
      bubble.style.transform = `translate(${x}px, ${event.clientY - box.top + 18}px)`;
    }
    soon();
  };
  const key = (event: KeyboardEvent) => {
    const { cursor } = state.current;
    if ((event.key === "Enter" || event.key === " ") && cursor) {
      event.preventDefault();
      props.onOpen(cursor, true);
      return;
    }
    const next = step(layout, find(layout, cursor), event.key);
    if (!next) return;
    event.preventDefault();
    state.current.cursor = next;
    setSpoken(sentence(next, props.now));
    const box = boxOf(layout, next);
    const view = scroller.current!;
    if (box.y < view.scrollTop + 24) view.scrollTop = Math.max(0, box.y - 40);
    if (box.y + box.height > view.scrollTop + view.clientHeight) view.scrollTop = box.y + 30 - view.clientHeight;
    soon();
  };

  return (
    <div class="surface">
      <div
        class="surface-scroll" ref={scroller} style={{ height: `${height}px` }} onScroll={soon}
        role="application" aria-label="Slot map" aria-roledescription="slot map" aria-describedby="map-keys"
        tabIndex={0} onKeyDown={key}
        onFocus={() => {
          state.current.cursor ??= step(layout, null, "Home");
          soon();
        }}
        onMouseMove={hover}
        onMouseLeave={() => {
          state.current.hovered = null;
          tip.current!.hidden = true;
          soon();
        }}
        onClick={(event) => {
          const place = at(event);
          if (!place) return;
          state.current.cursor = place;
          props.onOpen(place, false);
          soon();
        }}
      >
        <canvas ref={canvas} aria-hidden="true" />
        <div class="surface-space" style={{ height: `${layout.height}px` }} />
      </div>
      <div class="tip" ref={tip} hidden aria-hidden="true" />
      <p id="map-keys" class="unseen">
        Arrow keys go from slice to slice, Page Up and Page Down from node to node. Enter shows what is there. The same
        is in the table view.
      </p>
      <p class="unseen" role="status" aria-live="polite">
        {spoken}
      </p>
    </div>
  );
}
