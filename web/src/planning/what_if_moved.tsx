/** What if this pod moved: where it could go, and which waiting pods could start then. Nothing is moved. */

import type { JSX } from "preact";
import { count, plural, requests } from "../format";
import type { OverviewNode } from "../overview";
import type { CapacityAnswer, MoveAnswer, PodPlace } from "./answers";
import { Outcome, useQuestion } from "./question";

const MOST_NAMES = 3;
const MOST_KINDS = 8;

export function WhatIfMoved({ pod, nodes }: { pod: string; nodes: OverviewNode[] }): JSX.Element {
  const question = useQuestion<CapacityAnswer>("/api/v1/capacity");
  return (
    <form class="what-if-moved" onSubmit={(event) => question.send(event, { profiles: [], move: pod })}>
      <Outcome question={question} offered verb="What if it moved?">
        {(answer) => (
          <>
            {answer.move && <Answer move={answer.move} nodes={nodes} />}
            {answer.notes?.map((note) => <p class="limit" key={note}>{note}</p>)}
          </>
        )}
      </Outcome>
    </form>
  );
}

function Answer({ move, nodes }: { move: MoveAnswer; nodes: OverviewNode[] }): JSX.Element {
  const starting = move.starts.reduce((sum, start) => sum + start.pods.length, 0);
  const others = rest(move);
  return (
    <>
      <p class={starting ? "verdict yes" : "verdict"}>{verdict(move, starting)}</p>
      {move.kept && <p class="reason">It may not be moved: {move.kept}.</p>}
      {starting > 0 && (
        <ul class="plain">
          {move.starts.slice(0, MOST_KINDS).map((start) => (
            <li key={start.pods[0]}>
              <b>{names(start.pods)}</b> ({requests(start.profiles)}) on {placeWords(start.place, nodes)}; this pod then
              goes to {placeWords(start.moved, nodes)}
            </li>
          ))}
        </ul>
      )}
      {move.starts.length > MOST_KINDS && <p class="limit">{move.starts.length - MOST_KINDS} more kinds of pods could.</p>}
      <p>{roomWords(move.room)}</p>
      {others && <p class="limit">{others}</p>}
      {starting > 1 && <p class="limit">Each is asked alone: that all of them fit together is not said.</p>}
    </>
  );
}

function verdict(move: MoveAnswer, starting: number): string {
  if (starting) return `✓ ${plural(starting, "waiting pod")} could start.`;
  if (move.undecided || move.not_looked_at) return "? No waiting pod was found that could start; some are open.";
  return "✕ No further waiting pod could start.";
}

/** What of the other waiting pods. */
function rest(move: MoveAnswer): string {
  const parts: [number, string][] = [
    [move.already, "fit already"],
    [move.not, "do not fit even then (proven)"],
    [move.undecided, "undecided"],
    [move.not_looked_at, "not looked at"],
    [move.held, "wait for something else than room"],
  ];
  const told = parts.filter(([number]) => number > 0).map(([number, words]) => `${count(number)} ${words}`);
  return told.length ? `Other waiting pods: ${told.join(", ")}.` : "";
}

function roomWords(room: MoveAnswer["room"]): string {
  const nodes = Object.keys(room.nodes);
  if (!nodes.length) {
    return room.proven
      ? "As things stand there is no other place for it."
      : "No other place was found for it; that there is none is not proven.";
  }
  return `As things stand it could go to ${plural(nodes.length, "node")}: ${names(nodes)}.`;
}

function names(all: string[]): string {
  const more = all.length - MOST_NAMES;
  return all.slice(0, MOST_NAMES).join(", ") + (more > 0 ? ` and ${count(more)} more` : "");
}

function placeWords(place: PodPlace, nodes: OverviewNode[]): string {
  const gpus = nodes.find((node) => node.name === place.node)?.gpus ?? [];
  const slices = place.slices.map((slice) => {
    const gpu = gpus.find((each) => each.uuid === slice.gpu);
    return `${slice.profile} at ${gpu ? `GPU ${gpu.index}, ` : ""}slot ${slice.start}`;
  });
  return `${place.node} (${slices.join("; ")})`;
}
