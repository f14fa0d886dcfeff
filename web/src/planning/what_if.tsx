/** What if: ask for this, add those nodes. The answer is the planner's, with its limit named. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { models } from "../derive";
import { count } from "../format";
import type { Overview } from "../overview";
import { Panel } from "../parts";
import { changeWords, type CapacityAnswer } from "./answers";
import { NumberField, Rows, TextField } from "./rows";
import { Outcome, useQuestion } from "./question";

interface Asked {
  profile: string;
  pods: string;
}

export function WhatIf({ overview, offered }: { overview: Overview; offered: boolean }): JSX.Element {
  const [rows, setRows] = useState<Asked[]>([{ profile: overview.profiles.at(-1)?.name ?? "", pods: "1" }]);
  const [nodes, setNodes] = useState("0");
  const [model, setModel] = useState(models(overview.nodes)[0] ?? "");
  const [gpus, setGpus] = useState("8");
  const question = useQuestion<CapacityAnswer>("/api/v1/capacity");
  const body = () => ({
    profiles: [...new Set(rows.map((row) => row.profile))],
    requests: rows.map((row, index) => ({
      name: `pod-${index + 1}`, profiles: { [row.profile]: 1 }, count: Number(row.pods) || 1,
    })),
    ...(Number(nodes) > 0 ? { add: { model, nodes: Number(nodes), gpus_per_node: Number(gpus) } } : {}),
  });
  return (
    <Panel id="what-if" title="What if" note="asked of the cluster as it is">
      <form onSubmit={(event) => question.send(event, body())}>
        <Rows legend="Ask for" rows={rows} empty={{ profile: rows[0]!.profile, pods: "1" }} most={8} onChange={setRows}>
          {(row, change) => (
            <>
              <TextField label="Profile" list="profiles" value={row.profile} onChange={(profile) => change({ profile })} />
              <NumberField label="Pods" least={1} value={row.pods} onChange={(pods) => change({ pods })} />
            </>
          )}
        </Rows>
        <fieldset class="rows">
          <legend>Add nodes</legend>
          <div class="row">
            <NumberField label="Nodes" value={nodes} onChange={setNodes} />
            <TextField label="Model" list="models" value={model} onChange={setModel} />
            <NumberField label="GPUs each" least={1} value={gpus} onChange={setGpus} />
          </div>
        </fieldset>
        <Outcome question={question} offered={offered} verb="Ask">
          {(answer) => <Answer answer={answer} />}
        </Outcome>
      </form>
    </Panel>
  );
}

function Answer({ answer }: { answer: CapacityAnswer }): JSX.Element {
  const added = Object.values(answer.profiles).some((room) => room.with_added !== undefined);
  return (
    <>
      {answer.requests && <Together fit={answer.requests} />}
      <table class="compact">
        <thead>
          <tr>
            <th scope="col">Each alone</th>
            <th scope="col" class="number">Now</th>
            <th scope="col" class="number">After moves</th>
            {added && <th scope="col" class="number">With the nodes</th>}
            <th scope="col">Proof</th>
          </tr>
        </thead>
        <tbody>
          {Object.entries(answer.profiles).map(([name, room]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{count(room.now)}</td>
              <td class="number">{count(room.after_repack)}</td>
              {added && <td class="number">{room.with_added === undefined ? "–" : count(room.with_added)}</td>}
              <td>{room.proven && room.with_added_proven !== false ? "exact" : "at least: time ran out"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {answer.notes?.map((note) => <p class="limit" key={note}>{note}</p>)}
    </>
  );
}

function Together({ fit }: { fit: NonNullable<CapacityAnswer["requests"]> }): JSX.Element {
  return (
    <>
      <p class={fit.fit ? "verdict yes" : "verdict"}>
        {fit.fit
          ? "✓ All of it fits together now."
          : fit.fit === null
            ? "? It is open whether all of it fits."
            : "✕ Not all of it fits now."}
      </p>
      {fit.reason && <p class="reason">{fit.reason}</p>}
      {fit.placements.length > 0 && (
        <ul class="plain">
          {fit.placements.slice(0, 12).map((each) => (
            <li key={each.request}>
              {each.request} on <b>{each.node}</b>:{" "}
              {each.slices.map((slice) => `${slice.profile} at slot ${slice.start}`).join(", ")}
            </li>
          ))}
        </ul>
      )}
      {fit.changes.length > 0 && (
        <>
          <p>It would, if you</p>
          <ul class="plain">{fit.changes.map((change) => <li key={change.kind}>{changeWords(change)}</li>)}</ul>
        </>
      )}
      {fit.no_changes?.map((none) => <p class="limit" key={none.kind}>{none.reason}</p>)}
    </>
  );
}
