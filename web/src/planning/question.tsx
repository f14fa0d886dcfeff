/** A question to the planner: sent, waited for, answered or refused. */

import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, wordsOf } from "../live/session";

const TIME_LIMIT_S = 10;

export interface Question<T> {
  answer: T | null;
  problem: string;
  busy: boolean;
  send: (event: Event, body: unknown) => void;
}

export function useQuestion<T>(path: string): Question<T> {
  const [state, setState] = useState<Omit<Question<T>, "send">>({ answer: null, problem: "", busy: false });
  const send = (event: Event, body: unknown) => {
    event.preventDefault();
    setState({ ...state, problem: "", busy: true });
    ask<T>(`${path}?time_limit_s=${TIME_LIMIT_S}`, { method: "POST", body })
      .then((answer) => setState({ answer, problem: "", busy: false }))
      .catch((error: unknown) => setState({ answer: null, problem: wordsOf(error), busy: false }));
  };
  return { ...state, send };
}

/** The button, and what came of it. */
export function Outcome<T>({ question, offered, verb, children }: {
  question: Question<T>;
  offered: boolean;
  verb: string;
  children: (answer: T) => ComponentChildren;
}): JSX.Element {
  return (
    <>
      {offered ? (
        <button class="primary" disabled={question.busy}>{question.busy ? "Working it out…" : verb}</button>
      ) : (
        <p class="limit">You may not send documents to the planner, or this is a recording.</p>
      )}
      <div aria-live="polite">
        {question.problem && <p class="problem">{question.problem}</p>}
        {question.answer && <div class="answer">{children(question.answer)}</div>}
      </div>
    </>
  );
}
