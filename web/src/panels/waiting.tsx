/** Waiting pods, the oldest first, each with its reason, its place in the queue and the cheapest remedy. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ago, count, podName, requests } from "../format";
import type { Overview, OverviewWaiting } from "../overview";
import { Nothing, Panel } from "../parts";

const FEW = 8;

interface WaitingProps {
  overview: Overview;
  mayFix: boolean;
  onFix: (pod: OverviewWaiting) => void;
}

export function Waiting({ overview, mayFix, onFix }: WaitingProps): JSX.Element {
  const [all, setAll] = useState(false);
  const { waiting, waiting_total: total } = overview;
  const shown = all ? waiting : waiting.slice(0, FEW);
  return (
    <Panel id="waiting" title="Waiting pods" note={total ? `${count(total)}, oldest first` : ""}>
      {total === 0 ? (
        <Nothing>No pod waits.</Nothing>
      ) : (
        <ol class="waiting">
          {shown.map((pod) => (
            <Row key={pod.uid} pod={pod} now={overview.time} mayFix={mayFix} onFix={onFix} />
          ))}
        </ol>
      )}
      {waiting.length > FEW && (
        <button class="more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${count(waiting.length)}`}
        </button>
      )}
      {total > waiting.length && <p class="limit">{count(total - waiting.length)} younger ones are not listed.</p>}
    </Panel>
  );
}

function Row({ pod, now, mayFix, onFix }: {
  pod: OverviewWaiting;
  now: string;
  mayFix: boolean;
  onFix: (pod: OverviewWaiting) => void;
}): JSX.Element {
  const { namespace, name } = podName(pod.pod);
  return (
    <li>
      <div class="pod">
        <span class="pod-name">
          <span class="faint">{namespace}/</span>
          <b>{name}</b>
        </span>
        <span class="chip">{requests(pod.requests)}</span>
        {pod.gang && <span class="chip">gang {pod.gang}</span>}
        {pod.priority !== 0 && <span class="chip">priority {pod.priority}</span>}
        <span class="when" title={pod.since ?? undefined}>
          {pod.position === null ? "no turn yet" : pod.position === 0 ? "next" : `${count(pod.position)} before it`}
          {" · "}
          {pod.since === null ? "–" : ago(pod.since, now)}
        </span>
      </div>
      <p class="reason">{pod.message || pod.code}</p>
      <div class="remedy">
        <p>
          {pod.remedy ? (
            <>
              <span class="faint">Remedy</span> {pod.remedy.text}
            </>
          ) : (
            <span class="faint">{pod.remedy_known ? "No remedy was found." : "Remedy: not looked at yet."}</span>
          )}
        </p>
        {mayFix && mayHelp(pod) && (
          <button class={pod.remedy ? "primary" : ""} aria-label={`Fix ${pod.pod}`} onClick={() => onFix(pod)}>
            Fix…
          </button>
        )}
      </div>
    </li>
  );
}

/** Whether moves may help: they are the remedy, or nobody has looked yet. Only the queue gives a moved pod its place. */
function mayHelp(pod: OverviewWaiting): boolean {
  return pod.position !== null && (pod.remedy_known ? pod.remedy?.kind === "moves" : true);
}
