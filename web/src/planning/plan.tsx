/** The plan form: how many GPUs a demand needs, and how each is cut. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { models } from "../derive";
import { count, decimal, plural } from "../format";
import type { Overview, OverviewProfile } from "../overview";
import { Panel } from "../parts";
import type { PlanAnswer } from "./answers";
import { LayoutPicture } from "./layout_picture";
import { Outcome, useQuestion } from "./question";
import { NumberField, Rows, TextField } from "./rows";

interface Stock {
  model: string;
  count: string;
  price: string;
}

interface Demand {
  profile: string;
  slices: string;
}

export function Plan({ overview, offered }: { overview: Overview; offered: boolean }): JSX.Element {
  const first = models(overview.nodes)[0] ?? "";
  const [stock, setStock] = useState<Stock[]>([{ model: first, count: "", price: "" }]);
  const [demand, setDemand] = useState<Demand[]>([{ profile: overview.profiles[0]?.name ?? "", slices: "4" }]);
  const question = useQuestion<PlanAnswer>("/api/v1/plan");
  return (
    <Panel id="plan" title="Plan" note="the fewest GPUs for a demand, and how each is cut">
      <form onSubmit={(event) => question.send(event, planDocument(stock, demand))}>
        <Rows legend="Stock" rows={stock} empty={{ model: first, count: "", price: "" }} most={6} onChange={setStock}>
          {(row, change) => (
            <>
              <TextField label="Model" list="models" value={row.model} onChange={(model) => change({ model })} />
              <NumberField label="GPUs" placeholder="any" value={row.count} onChange={(n) => change({ count: n })} />
              <NumberField
                label="Price each" step="any" placeholder="–" value={row.price} onChange={(price) => change({ price })}
              />
            </>
          )}
        </Rows>
        <Rows legend="Demand" rows={demand} empty={{ profile: demand[0]!.profile, slices: "1" }} most={12} onChange={setDemand}>
          {(row, change) => (
            <>
              <TextField label="Profile" list="profiles" value={row.profile} onChange={(profile) => change({ profile })} />
              <NumberField label="Slices" least={1} value={row.slices} onChange={(slices) => change({ slices })} />
            </>
          )}
        </Rows>
        <Outcome question={question} offered={offered} verb="Plan">
          {(answer) => <Answer answer={answer} profiles={overview.profiles} />}
        </Outcome>
      </form>
    </Panel>
  );
}

function planDocument(stock: Stock[], demand: Demand[]): unknown {
  const wanted: Record<string, number> = {};
  for (const row of demand) wanted[row.profile] = (wanted[row.profile] ?? 0) + (Number(row.slices) || 0);
  const priced = stock.every((row) => row.price !== "");
  return {
    fleet: stock.map((row) => ({
      model: row.model,
      count: row.count === "" ? "unlimited" : Number(row.count),
      ...(priced ? { price: Number(row.price) } : {}),
    })),
    demand: wanted,
    goal: priced ? "cost" : "gpus",
  };
}

function Answer({ answer, profiles }: { answer: PlanAnswer; profiles: OverviewProfile[] }): JSX.Element {
  if (answer.feasible !== true) {
    return (
      <>
        <p class="verdict">
          {answer.feasible === null ? "? No plan was found in time; there may be one." : "✕ There is no such plan."}
        </p>
        {answer.reason && <p class="reason">{answer.reason}</p>}
      </>
    );
  }
  const gpus = Object.entries(answer.gpus).filter(([, n]) => n > 0).map(([model, n]) => `${count(n)} × ${model}`);
  return (
    <>
      <p class="verdict yes">
        ✓ {gpus.join(", ") || "No GPU"}
        {answer.cost !== null && `, for ${decimal(answer.cost)}`}
      </p>
      <p class="limit">
        {answer.optimal ? "Proven: less does not do." : `Not proven: ${decimal(answer.lower_bound)} could do at best.`}
        {answer.stranded_memory_slices > 0 && ` ${plural(answer.stranded_memory_slices, "memory slice")} stay stranded.`}
      </p>
      <ul class="layouts">
        {answer.layouts.map((layout, index) => (
          <li key={index}>
            <span class="number">{count(layout.count)} ×</span>
            <LayoutPicture model={layout.model} slices={layout.slices} profiles={profiles} />
            <span class="faint">{layout.model}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
