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
    <dl class="summary" aria-label="The cluster in figures">
      <div>
        <dt>In use</dt>
        <dd>{percent(totals.utilisation)}</dd>
        <Bar share={totals.utilisation ?? 0} />
        <small>{count(totals.used)} of {plural(totals.memory_slices, "memory slice")}</small>
      </div>
      <div title="Free memory slices that no profile in demand can use">
        <dt>Stranded</dt>
        <dd>{percent(totals.stranded_share)}</dd>
        <Bar share={totals.stranded_share ?? 0} hatched />
        <small>
          {totals.stranded === null
            ? "not looked at: nothing is in demand"
            : `${count(totals.stranded)} of ${plural(totals.free, "free slice")}`}
        </small>
      </div>
      <div>
        <dt>Waiting</dt>
        <dd>{count(waiting)}</dd>
        <small>{waiting === 0 ? "no pod waits" : waiting === 1 ? "pod without a place" : "pods without a place"}</small>
      </div>
      <div>
        <dt>Moves</dt>
        <dd>{moves === null ? "–" : count(active)}</dd>
        <small>{moves === null ? "not looked at" : `under way; ${count(proposed)} proposed`}</small>
      </div>
      <div>
        <dt>GPUs</dt>
        <dd>{count(totals.gpus)}</dd>
        <small>
          on {plural(overview.nodes.length, "node")};{" "}
          {health.length === 0 ? "none ill" : <a href="#health">{plural(health.length, "problem")}</a>}
        </small>
      </div>
    </dl>
  );
}
