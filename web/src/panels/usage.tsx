/** Slice-hours by namespace, in the memory that slices really have. */

import type { JSX } from "preact";
import { clock, decimal, NOT_LOOKED_AT } from "../format";
import type { Overview } from "../overview";
import { Bar, Nothing, Panel } from "../parts";

const MOST = 12;

export function Usage({ overview }: { overview: Overview }): JSX.Element {
  const rows = [...overview.usage].sort((a, b) => b.slice_hours - a.slice_hours);
  const most = Math.max(1e-9, ...rows.map((row) => row.slice_hours));
  const since = rows[0]?.since;
  return (
    <Panel id="usage" title="Slice-hours by namespace" note={since ? `since ${clock(since, false)}` : ""}>
      {rows.length === 0 ? (
        <Nothing>No namespace has held a slice since the service counts.</Nothing>
      ) : (
        <table class="compact">
          <thead>
            <tr>
              <th scope="col">Namespace</th>
              <th scope="col" class="wide"><span class="unseen">As a bar</span></th>
              <th scope="col" class="number">Slice·h</th>
              <th scope="col" class="number">GiB·h</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, MOST).map((row) => (
              <tr key={row.namespace}>
                <th scope="row" class="clip">{row.namespace}</th>
                <td class="wide"><Bar share={row.slice_hours / most} /></td>
                <td class="number">{decimal(row.slice_hours)}</td>
                <td class="number" title={row.mib_hours === null ? undefined : `${decimal(row.mib_hours)} MiB × hours`}>
                  {row.mib_hours === null ? <span class="faint">{NOT_LOOKED_AT}</span> : decimal(row.mib_hours / 1024)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {rows.length > MOST && <p class="limit">{rows.length - MOST} more have held less.</p>}
    </Panel>
  );
}
