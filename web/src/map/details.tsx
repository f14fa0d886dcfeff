/** What is at one place of the slot map. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ago, ownerName } from "../format";
import type { OverviewNode } from "../overview";
import { WhatIfMoved } from "../planning/what_if_moved";
import type { Place } from "./draw";
import { GPU_STATES, slotRange, stateWords } from "./words";

export function Details({ place, nodes, now, mayPlan, focus, onClose }: {
  place: Place;
  nodes: OverviewNode[];
  now: string;
  mayPlan: boolean;
  focus: boolean;
  onClose: () => void;
}): JSX.Element {
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    if (focus) box.current?.focus();
  }, [place.gpu.uuid, place.segment.start, focus]);
  const { block, gpu, segment } = place;
  const { slice } = segment;
  const pod = slice?.pod ? `${slice.namespace}/${slice.pod}` : "";
  const facts: [string, string][] = [
    ["State", stateWords(segment)],
    ["Place", `${block.node.name}, GPU ${gpu.index}, ${slotRange(segment)}`],
    ["GPU", `${gpu.model}, ${GPU_STATES[gpu.state]}${gpu.message ? `: ${gpu.message}` : ""}`],
  ];
  if (slice) {
    facts.unshift(["Profile", `${slice.profile}, ${slice.size} of ${gpu.memory_slices ?? "?"} memory slices`]);
    if (slice.pod) facts.push(["Owner", ownerWords(slice.owner)]);
    if (slice.container) facts.push(["Container", slice.container]);
    facts.push(["Since", slice.since ? `${ago(slice.since, now)} ago` : "not known: it was there before the service"]);
    if (slice.unused_since) facts.push(["Unused", `for ${ago(slice.unused_since, now)}`]);
    if (slice.movable !== null) facts.push(["May be moved", slice.movable ? "yes" : "no"]);
  }
  if (block.node.message) facts.push(["Node", block.node.message]);
  facts.push(["UUID", gpu.uuid]);
  return (
    <aside
      class="details" ref={box} tabIndex={-1} aria-label="Details of the slice"
      onKeyDown={(event) => event.key === "Escape" && onClose()}
    >
      <header>
        <h3>{pod || stateWords(segment)}</h3>
        <button class="close" aria-label="Close the details" onClick={onClose}>
          ✕
        </button>
      </header>
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {mayPlan && pod && slice?.state === "allocated" && <WhatIfMoved key={pod} pod={pod} nodes={nodes} />}
    </aside>
  );
}

function ownerWords(owner: string | null | undefined): string {
  if (owner === null || owner === undefined) return "not known";
  return owner === "" ? "none: nothing makes the pod anew" : ownerName(owner);
}
