/** The dialog behind Fix: the moves with their price and proof, one question, and then every step until the pod runs. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { nodeOf } from "./derive";
import { plural } from "./format";
import { ask, Refusal, wordsOf } from "./live/session";
import type { Overview, OverviewMove } from "./overview";
import { Phase, Steps } from "./panels/moves";

/** What is to be fixed: a pod that waits, or a Repack that is proposed already. */
export interface Wish {
  pod: string | null;
  name: string | null;
}

const OVER = ["Done", "Failed"];

export function Fix({ wish, overview, onClose }: { wish: Wish; overview: Overview; onClose: () => void }): JSX.Element {
  const box = useRef<HTMLDialogElement>(null);
  const [name, setName] = useState(wish.name);
  const [problem, setProblem] = useState("");
  const [sent, setSent] = useState(false);
  useEffect(() => box.current?.showModal(), []);
  useEffect(() => {
    if (wish.name !== null || wish.pod === null) return;
    ask<{ name: string }>("/api/v1/repacks", { method: "POST", body: { pod: wish.pod, mode: "Approve" } })
      .then((made) => setName(made.name))
      .catch((error: unknown) => setProblem(refusal(error)));
  }, [wish]);

  const move = (overview.moves ?? []).find((each) => each.name === name);
  const pod = wish.pod ?? move?.pod ?? null;
  const waits = pod !== null && overview.waiting.some((each) => each.pod === pod);
  const runsOn = pod === null || waits ? null : nodeOf(overview.nodes, pod);
  const approve = () => {
    setSent(true);
    ask(`/api/v1/repacks/${encodeURIComponent(name!)}/approval`, { method: "POST" }).catch((error: unknown) => {
      setSent(false);
      setProblem(refusal(error));
    });
  };
  const ready = move?.phase === "Proposed" && !move.approved && move.steps.length > 0;
  const over = move !== undefined && OVER.includes(move.phase);
  return (
    <dialog ref={box} class="fix" aria-labelledby="fix-title" onClose={onClose}>
      <header>
        <h2 id="fix-title">{pod ? <>Make room for <b>{pod}</b></> : name}</h2>
        {move && <Phase phase={move.phase} />}
      </header>
      <div class="fix-body">
        {move && move.steps.length > 0 && (
          <>
            <p>
              {plural(move.steps.length, "pod is", "pods are")} restarted elsewhere. Each place is held before its pod
              is evicted, and no disruption budget is broken.
            </p>
            <Steps steps={move.steps} now={overview.time} />
            <dl class="facts">
              <div><dt>Price</dt><dd>{move.price ?? "not known"}</dd></div>
              <div><dt>Proof</dt><dd>{move.proof ?? "none: cheaper moves may exist"}</dd></div>
            </dl>
          </>
        )}
        {!problem && !move?.steps.length && !over && (
          <p class="faint" role="status">{move?.message || "Looking for the cheapest moves…"}</p>
        )}
        {move && move.message && move.steps.length > 0 && <p class="reason">{move.message}</p>}
        {problem && <p class="problem" role="alert">{problem}</p>}
      </div>
      <p class="outcome" role="status">{outcome(move, pod, runsOn, waits)}</p>
      <footer>
        <button onClick={() => box.current?.close()}>{over || sent || move?.approved ? "Close" : "Not now"}</button>
        {!over && !move?.approved && (
          <button class="primary" disabled={!ready || sent} onClick={approve}>
            {sent ? "Approved" : move?.steps.length ? `Move ${plural(move.steps.length, "pod")}` : "Move"}
          </button>
        )}
      </footer>
    </dialog>
  );
}

function outcome(move: OverviewMove | undefined, pod: string | null, runsOn: string | null, waits: boolean): string {
  if (!move) return "";
  if (runsOn !== null) return `✓ ${pod} has its slices on ${runsOn}.`;
  if (move.phase === "Failed") return "The moves have stopped. What was held for them is free again.";
  if (move.phase === "Done") return waits ? "The moves are done; the pod gets its place now." : "✓ The moves are done.";
  if (move.approved) return "The moves are under way. This dialog may be closed; they go on.";
  return "";
}

function refusal(error: unknown): string {
  if (error instanceof Refusal && error.status === 403) return `You may not move pods. ${error.message}`;
  return wordsOf(error);
}
