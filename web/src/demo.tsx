/** The demo's bar: scenarios, their steps, speed and pause. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, wordsOf } from "./live/session";

interface DemoState {
  scenarios: { name: string; title: string; text: string }[];
  running: string | null;
  step: number;
  steps: string[];
  speed: number;
  paused: boolean;
  done: boolean;
}

const PATH = "/api/v1/demo";
const EVERY_MS = 700;
const SPEEDS = [0.5, 1, 2, 4];

/** `wanted` is the scenario that the address names. */
export function Demo({ wanted }: { wanted: string | null }): JSX.Element | null {
  const [state, setState] = useState<DemoState | null>(null);
  const [problem, setProblem] = useState("");
  const send = (body: object) => {
    ask<DemoState>(PATH, { method: "POST", body })
      .then((next) => {
        if (next && "scenarios" in next) setState(next);
        setProblem("");
      })
      .catch((error: unknown) => setProblem(wordsOf(error)));
  };
  useEffect(() => {
    let timer = 0;
    let ended = false;
    const look = () => {
      ask<DemoState>(PATH)
        .then((next) => !ended && setState(next))
        .catch(() => undefined) // the page says by itself that it is offline
        .finally(() => {
          if (!ended) timer = window.setTimeout(look, EVERY_MS);
        });
    };
    look();
    return () => {
      ended = true;
      window.clearTimeout(timer);
    };
  }, []);
  useEffect(() => {
    if (wanted) send({ scenario: wanted });
  }, [wanted]);
  if (!state) return null;
  const chosen = state.scenarios.find((scenario) => scenario.name === state.running);
  return (
    <section class="demo" aria-label="Demo">
      <label class="choice">
        <span>Demo</span>
        <select
          value={state.running ?? ""}
          onChange={(event) => {
            const name = event.currentTarget.value;
            if (!name) return;
            if (location.hash === `#/demo/${name}`) send({ scenario: name });
            else location.hash = `#/demo/${name}`;
          }}
        >
          <option value="">choose a scenario</option>
          {state.scenarios.map((scenario) => (
            <option key={scenario.name} value={scenario.name}>{scenario.title}</option>
          ))}
        </select>
      </label>
      {chosen && (
        <>
          <button aria-label={state.paused ? "Go on" : "Pause"} onClick={() => send({ paused: !state.paused })}>
            {state.paused ? "▶" : "❚❚"}
          </button>
          <button aria-label="Again from the start" onClick={() => send({ scenario: chosen.name })}>↻</button>
          <label class="choice">
            <span>Speed</span>
            <select value={String(state.speed)} onChange={(event) => send({ speed: Number(event.currentTarget.value) })}>
              {[...new Set([...SPEEDS, state.speed])].sort((a, b) => a - b).map((speed) => (
                <option key={speed} value={String(speed)}>{speed} ×</option>
              ))}
            </select>
          </label>
        </>
      )}
      <p class="demo-text" aria-live="polite">
        {chosen ? (
          <>
            <b>{Math.min(state.step + 1, state.steps.length)}/{state.steps.length}</b>{" "}
            {state.steps[Math.min(state.step, state.steps.length - 1)]}
            {state.done && <span class="faint"> The end.</span>}
          </>
        ) : (
          "Kubernetes and the GPUs are simulated; the scheduler, its queue and its moves are the real ones."
        )}
      </p>
      {problem && <p class="problem">{problem}</p>}
    </section>
  );
}
