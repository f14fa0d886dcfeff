/** The slot map as a table, for screen readers and for those who rather read. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ownerOf, segments } from "../derive";
import { ago, count } from "../format";
import { Scroll } from "../parts";
import type { Place } from "./draw";
import type { Layout } from "./layout";
import { GPU_STATES, slotRange, stateWords } from "./words";

const PAGE = 100;

export function MapTable({ layout, now, onOpen }: {
  layout: Layout;
  now: string;
  onOpen: (place: Place, byKey: boolean) => void;
}): JSX.Element {
  const [pages, setPages] = useState(1);
  const rows: Place[] = [];
  const most = pages * PAGE;
  let left = 0;
  for (const block of layout.blocks) {
    for (const gpu of block.gpus) {
      for (const segment of segments(gpu)) {
        if (rows.length < most) rows.push({ block, gpu, segment });
        else left += 1;
      }
    }
  }
  return (
    <>
      <Scroll label="Slices as a table">
        <table>
          <thead>
            <tr>
              <th scope="col">Node</th>
              <th scope="col" class="number">GPU</th>
              <th scope="col">Slots</th>
              <th scope="col">Profile</th>
              <th scope="col">State</th>
              <th scope="col">Pod</th>
              <th scope="col">Owner</th>
              <th scope="col" class="number">For</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((place) => {
              const { block, gpu, segment } = place;
              const { slice } = segment;
              return (
                <tr key={`${gpu.uuid} ${segment.start}`}>
                  <td>{block.node.name}</td>
                  <td class="number" title={`${gpu.model}, ${GPU_STATES[gpu.state]}`}>
                    {gpu.index}
                    {gpu.state !== "ok" && ` (${GPU_STATES[gpu.state]})`}
                  </td>
                  <td>{slotRange(segment)}</td>
                  <td>{slice?.profile ?? "–"}</td>
                  <td>{stateWords(segment)}</td>
                  <td>
                    {slice?.pod ? (
                      <button class="link" onClick={() => onOpen(place, true)}>
                        {slice.namespace}/{slice.pod}
                      </button>
                    ) : (
                      "–"
                    )}
                  </td>
                  <td>{(slice && ownerOf(slice)) || "–"}</td>
                  <td class="number">{slice ? ago(slice.since, now) : "–"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
      {left > 0 && (
        <button class="more" onClick={() => setPages(pages + 1)}>
          Show {PAGE} more of {count(left)}
        </button>
      )}
    </>
  );
}
