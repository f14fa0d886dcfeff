/** The slot map: every GPU's memory slices, by canvas or as a table. */

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { namespaces } from "../derive";
import { count, plural } from "../format";
import { Choice, Nothing, Panel } from "../parts";
import type { Overview } from "../overview";
import { find } from "./cursor";
import { Details } from "./details";
import type { Place } from "./draw";
import { layOut, type ColourBy, type Density, type GroupBy, type Wishes } from "./layout";
import { Legend } from "./legend";
import { Surface } from "./surface";
import { MapTable } from "./table";

const GROUPS = [
  ["node", "node"], ["model", "model"], ["namespace", "namespace"], ["owner", "owner"], ["age", "age"],
] as const satisfies readonly (readonly [GroupBy, string])[];
const COLOURS = [
  ["profile", "size"], ["namespace", "namespace"], ["age", "age"],
] as const satisfies readonly (readonly [ColourBy, string])[];
const SIZES = [
  ["auto", "fitting"], ["large", "large"], ["medium", "medium"], ["small", "small"],
] as const satisfies readonly (readonly [Density | "auto", string])[];
const OLDER = [["0", "any"], ["3600", "1 h and older"], ["86400", "1 day and older"], ["604800", "1 week and older"]] as const;

const FIRST: Wishes = { groupBy: "node", colourBy: "profile", density: "auto", text: "", namespace: "", minAgeS: 0 };

export function SlotMap({ overview, theme, mayPlan }: {
  overview: Overview;
  theme: string;
  mayPlan: boolean;
}): JSX.Element {
  const [wishes, setWishes] = useState(FIRST);
  const [width, setWidth] = useState(800);
  const [table, setTable] = useState(false);
  const [opened, setOpened] = useState<{ place: Place; byKey: boolean } | null>(null);
  const now = overview.time;
  const minute = Math.floor(Date.parse(now) / 60_000); // ages change no faster
  const timed = wishes.groupBy === "age" || wishes.minAgeS > 0;
  const layout = useMemo(
    () => layOut(overview.nodes, wishes, width, now),
    [overview.nodes, wishes, width, timed ? minute : 0],
  );
  const names = useMemo(() => namespaces(overview.nodes), [overview.nodes]);
  const wish = (part: Partial<Wishes>) => setWishes({ ...wishes, ...part });
  const open = (place: Place, byKey: boolean) => setOpened({ place, byKey });
  const place = opened && find(layout, opened.place);
  const shown = layout.blocks.reduce((sum, block) => sum + block.gpus.length, 0);
  const close = () => {
    setOpened(null);
    if (opened?.byKey) document.querySelector<HTMLElement>(table ? "#map .scroll" : "#map .surface-scroll")?.focus();
  };
  return (
    <Panel
      id="map" title="Slot map"
      note={`${plural(shown, "GPU")}${shown === overview.totals.gpus ? "" : ` of ${count(overview.totals.gpus)}`}`}
      tools={
        <div class="switch" role="group" aria-label="View of the slot map">
          <button aria-pressed={!table} onClick={() => setTable(false)}>Map</button>
          <button aria-pressed={table} onClick={() => setTable(true)}>Table</button>
        </div>
      }
    >
      <div class="map-tools">
        <label class="choice grow">
          <span>Filter</span>
          <input
            type="search" placeholder="node, model, namespace, pod or owner" value={wishes.text}
            onInput={(event) => wish({ text: event.currentTarget.value })}
          />
        </label>
        <Choice
          label="Namespace" value={wishes.namespace} onChange={(namespace) => wish({ namespace })}
          options={[["", "all"], ...names.map((name) => [name, name] as const)]}
        />
        <Choice label="Age" value={String(wishes.minAgeS)} options={OLDER} onChange={(age) => wish({ minAgeS: Number(age) })} />
        <Choice label="Group" value={wishes.groupBy} options={GROUPS} onChange={(groupBy) => wish({ groupBy })} />
        <Choice label="Colour" value={wishes.colourBy} options={COLOURS} onChange={(colourBy) => wish({ colourBy })} />
        <Choice label="Size" value={wishes.density} options={SIZES} onChange={(density) => wish({ density })} />
      </div>
      <Legend by={wishes.colourBy} names={names} />
      {place && opened && (
        <Details
          place={place} nodes={overview.nodes} now={now} mayPlan={mayPlan} focus={opened.byKey} onClose={close}
        />
      )}
      {layout.blocks.length === 0 ? (
        <Nothing>
          {overview.nodes.length === 0
            ? "No node reports a GPU. Is the agent running on the GPU nodes? migsched doctor tells."
            : "Nothing matches the filter."}
        </Nothing>
      ) : table ? (
        <MapTable layout={layout} now={now} onOpen={open} />
      ) : (
        <Surface
          layout={layout} wishes={wishes} names={names} now={now} theme={theme} onWidth={setWidth} onOpen={open}
        />
      )}
    </Panel>
  );
}

