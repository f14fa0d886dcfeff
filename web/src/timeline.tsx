/** The time slider: through a recording, or through what this tab has received. */

import type { JSX } from "preact";
import type { Store, View } from "./live/store";
import { clock } from "./format";

export function Timeline({ store, view }: { store: Store; view: View }): JSX.Element | null {
  if (view.frames < 2) return null;
  const recording = view.source === "recording";
  const last = view.frames - 1;
  const shown = view.overview ? clock(view.overview.time) : "";
  return (
    <div class={view.past ? "timeline past" : "timeline"} role="group" aria-label="Time">
      <button aria-label="One moment back" disabled={view.frame === 0} onClick={() => store.show(view.frame - 1)}>‹</button>
      <span class="faint edge">{clock(store.time(0))}</span>
      <input
        type="range" min={0} max={last} value={view.frame} aria-label="Moment shown" aria-valuetext={shown}
        onInput={(event) => store.show(Number(event.currentTarget.value))}
      />
      <span class="faint edge">{recording ? clock(store.time(last)) : "now"}</span>
      <button aria-label="One moment on" disabled={view.frame >= last} onClick={() => store.show(view.frame + 1)}>›</button>
      <output>{shown}</output>
      {recording ? (
        <span class="badge">Recording</span>
      ) : view.past ? (
        <button class="primary" onClick={() => store.show(last)}>Back to now</button>
      ) : null}
    </div>
  );
}
