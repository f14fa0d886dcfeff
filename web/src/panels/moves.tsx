/** Moves: Repacks that are proposed, under way or over, with their steps. */

import type { JSX } from "preact";
import { ago } from "../format";
import type { Overview, OverviewMove, OverviewStep } from "../overview";
import { Nothing, Panel } from "../parts";

const OVER = ["Done", "Failed"];
const STEP_ORDER = ["pending", "held", "evicting", "gone", "replaced", "confirmed"];

export function Moves({ overview, mayApprove, onApprove }: {
  overview: Overview;
  mayApprove: boolean;
  onApprove: (move: OverviewMove) => void;
}): JSX.Element {
  const { moves } = overview;
  const sorted = [...(moves ?? [])].sort((a, b) => rank(a) - rank(b) || ((a.created ?? "") < (b.created ?? "") ? 1 : -1));
  return (
    <Panel id="moves" title="Moves">
      {moves === null ? (
        <Nothing>Not looked at: the setting moves is off, or the service may not read Repacks.</Nothing>
      ) : moves.length === 0 ? (
        <Nothing>No move is proposed or under way.</Nothing>
      ) : (
        <ul class="moves">
          {sorted.slice(0, 12).map((move) => (
            <li key={move.name}>
              <div class="pod">
                <Phase phase={move.phase} />
                <b class="clip">{move.pod ?? move.name}</b>
                <span class="chip">{move.mode}</span>
                {move.created && <span class="when">{ago(move.created, overview.time)}</span>}
              </div>
              <p class="reason">{move.wanted}{move.message && <span class="faint"> · {move.message}</span>}</p>
              {move.price && <p class="limit">{move.price}{move.proof && `; ${move.proof}`}</p>}
              <p class="limit">Repack {move.name}</p>
              {!OVER.includes(move.phase) && <Steps steps={move.steps} now={overview.time} />}
              {mayApprove && move.phase === "Proposed" && (
                <button class="primary" aria-label={`Look at ${move.name} and approve it`} onClick={() => onApprove(move)}>
                  Approve…
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function rank(move: OverviewMove): number {
  return OVER.includes(move.phase) ? 1 : 0;
}

export function Phase({ phase }: { phase: string }): JSX.Element {
  return <span class={`phase phase-${phase.toLowerCase()}`}>{phase || "Pending"}</span>;
}

/** Each step with how far it is. */
export function Steps({ steps, now }: { steps: OverviewStep[]; now: string }): JSX.Element | null {
  if (!steps.length) return null;
  return (
    <ol class="steps">
      {steps.map((step) => (
        <li key={step.pod} class={`step step-${step.state}`}>
          <span class="step-mark" aria-hidden="true">
            {step.state === "confirmed" ? "✓" : step.state === "abandoned" ? "✕" : "→"}
          </span>
          <div>
            <b>{step.pod}</b> <span class="state">{step.state || "planned"}</span>
            {step.since && <span class="faint"> for {ago(step.since, now)}</span>}
            <div class="path">
              <span>{place(step.from)}</span> <span aria-label="to">→</span> <span>{place(step.to)}</span>
            </div>
            {step.reason && <div class="limit">{step.reason}</div>}
          </div>
          <span class="progress" aria-hidden="true">
            {STEP_ORDER.slice(1).map((state) => (
              <i key={state} class={STEP_ORDER.indexOf(step.state) >= STEP_ORDER.indexOf(state) ? "on" : ""} />
            ))}
          </span>
        </li>
      ))}
    </ol>
  );
}

/** `node GPU-uuid profile@start` without the UUID's tail. */
function place(text: string): string {
  return text.replace(/GPU-([0-9a-f]{8})[0-9a-f-]*/g, "GPU-$1");
}
