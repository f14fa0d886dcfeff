/** The figures at the top: the state of the cluster in one line. */

import type { JSX } from "preact";
import { count, percent, plural } from "../format";
import type { Overview } from "../overview";
import { Bar } from "../parts";

export function Summary({ overview }: { overview: Overview }): JSX.Element {
  const { totals, waiting_total: waiting, moves, health } = overview;
  const active = (moves ?? []).filter((move) => ["Running", "Stopping"].includes(move.phase)).length;
  const proposed = (moves ?? []).filter((move) => move.phase === "Proposed").length;
  return (
    <ul class="summary" aria-label="The cluster in figures">
      <li>
        <span class="name">In use</span>
        <b>{percent(totals.utilisation)}</b>
        <Bar share={totals.utilisation ?? 0} />
        <small>{count(totals.used)} of {plural(totals.memory_slices, "memory slice")}</small>
      </li>
      <li title="Free memory slices that no profile in demand can use">
        <span class="name">Stranded</span>
        <b>{percent(totals.stranded_share)}</b>
        <Bar share={totals.stranded_share ?? 0} hatched />
        <small>
          {totals.stranded === null
            ? "not looked at: nothing is in demand"
            : `${count(totals.stranded)} of ${plural(totals.free, "free slice")}`}
        </small>
      </li>
      <li>
        <span class="name">Waiting</span>
        <b>{count(waiting)}</b>
        <small>{waiting === 0 ? "no pod waits" : waiting === 1 ? "pod without a place" : "pods without a place"}</small>
      </li>
      <li>
        <span class="name">Moves</span>
        <b>{moves === null ? "–" : count(active)}</b>
        <small>{moves === null ? "not looked at" : `under way; ${count(proposed)} proposed`}</small>
      </li>
      <li>
        <span class="name">GPUs</span>
        <b>{count(totals.gpus)}</b>
        <small>
          on {plural(overview.nodes.length, "node")};{" "}
          {health.length === 0 ? "none ill" : <a href="#health">{plural(health.length, "problem")}</a>}
        </small>
      </li>
    </ul>
  );
}
