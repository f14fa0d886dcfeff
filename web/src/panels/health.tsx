/** What is wrong: nodes, GPUs, agents. */

import type { JSX } from "preact";
import { ago } from "../format";
import type { Overview } from "../overview";
import { Nothing, Panel } from "../parts";

const MOST = 20;

export function Health({ overview }: { overview: Overview }): JSX.Element {
  const { health } = overview;
  return (
    <Panel id="health" title="Health" note={health.length ? `${health.length}` : ""}>
      {health.length === 0 ? (
        <Nothing>Nothing is reported ill. GPUs without an agent are not looked at.</Nothing>
      ) : (
        <ul class="lines">
          {health.slice(0, MOST).map((problem) => (
            <li key={`${problem.node} ${problem.gpu} ${problem.what}`}>
              <span class="mark bad" aria-hidden="true">✕</span>
              <div class="problem-of">
                <b>{problem.node}</b>{" "}
                <span class="chip">{problem.what}</span>
                {problem.gpu && <p class="limit">{problem.gpu}</p>}
                <p class="reason">{problem.message}</p>
              </div>
              <span class="when">{ago(problem.since, overview.time)}</span>
            </li>
          ))}
        </ul>
      )}
      {health.length > MOST && <p class="limit">{health.length - MOST} more.</p>}
    </Panel>
  );
}
