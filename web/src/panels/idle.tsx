/** Allocated slices on which nothing runs. */

import type { JSX } from "preact";
import { duration } from "../format";
import { UNUSED_FROM_S, unusedSlices } from "../derive";
import type { Overview } from "../overview";
import { Nothing, Panel } from "../parts";

const MOST = 10;

export function Idle({ overview }: { overview: Overview }): JSX.Element {
  const unused = unusedSlices(overview.nodes, overview.time);
  const slots = unused.reduce((sum, each) => sum + each.slice.size, 0);
  return (
    <Panel id="idle" title="Held, but unused" note={unused.length ? `${slots} memory slices` : ""}>
      {unused.length === 0 ? (
        <Nothing>{`No slice is known to have been unused for ${duration(UNUSED_FROM_S)}.`}</Nothing>
      ) : (
        <table class="compact">
          <thead>
            <tr>
              <th scope="col">Pod</th>
              <th scope="col">Slice</th>
              <th scope="col" class="number">Unused for</th>
            </tr>
          </thead>
          <tbody>
            {unused.slice(0, MOST).map(({ node, gpu, slice, unusedS }) => (
              <tr key={`${gpu.uuid} ${slice.start}`}>
                <td class="clip" title={`${slice.namespace}/${slice.pod} on ${node}`}>{slice.namespace}/{slice.pod}</td>
                <td>{slice.profile}</td>
                <td class="number">{duration(unusedS)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {unused.length > MOST && <p class="limit">{unused.length - MOST} more are unused for less long.</p>}
    </Panel>
  );
}
