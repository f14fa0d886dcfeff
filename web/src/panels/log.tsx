/** The log: slices cut and freed, pods placed, moves and failures; the youngest first. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { clock } from "../format";
import type { Overview, OverviewEventKind } from "../overview";
import { Choice, Nothing, Panel, Scroll } from "../parts";

const KINDS = [
  ["all", "all"], ["cut", "cut"], ["freed", "freed"], ["placed", "placed"], ["ended", "ended"], ["move", "moves"],
  ["failure", "failures"], ["recovered", "recovered"],
] as const satisfies readonly (readonly [OverviewEventKind | "all", string])[];
const MARKS: Record<OverviewEventKind, string> = {
  cut: "✂", freed: "○", placed: "●", ended: "–", move: "→", failure: "✕", recovered: "✓",
};
const MOST = 100;

export function Log({ overview }: { overview: Overview }): JSX.Element {
  const [kind, setKind] = useState<OverviewEventKind | "all">("all");
  const events = overview.log.filter((event) => kind === "all" || event.kind === kind).slice(-MOST).reverse();
  return (
    <Panel
      id="log" title="Log" note="the youngest first"
      tools={<Choice label="Kind" value={kind} options={KINDS} onChange={setKind} />}
    >
      {events.length === 0 ? (
        <Nothing>Nothing has happened yet.</Nothing>
      ) : (
        <Scroll label="Events">
          <ol class="log">
            {events.map((event, index) => (
              <li key={`${event.time} ${index}`} class={`event-${event.kind}`}>
                <time dateTime={event.time}>{clock(event.time)}</time>
                <span class="mark" aria-hidden="true">{MARKS[event.kind]}</span>
                <span class="kind">{event.kind}</span>
                <span>{event.text}</span>
              </li>
            ))}
          </ol>
        </Scroll>
      )}
    </Panel>
  );
}
