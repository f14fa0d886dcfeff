/** What the planner's routes answer, as far as this page shows it; /docs has all of it. */

import type { PlannedSlice } from "./layout_picture";

export interface ProfileRoom {
  now: number;
  after_repack: number;
  proven: boolean;
  with_added?: number;
  with_added_after_repack?: number;
  with_added_proven?: boolean;
}

export type Change =
  | { kind: "moves"; moves: number; gpc: number; pods: string[]; optimal: boolean }
  | { kind: "profile"; slices: number; swaps: { from: string; to: string; count: number }[]; optimal: boolean }
  | { kind: "gpus"; model: string; gpus: number; nodes: number; optimal: boolean };

/** Where a pod would go. */
export interface PodPlace {
  request: string;
  node: string;
  slices: { gpu: string; profile: string; start: number }[];
}

/** What if one pod were restarted elsewhere; the numbers count waiting pods. */
export interface MoveAnswer {
  pod: string;
  node: string;
  kept: string;
  room: { now: number; proven: boolean; nodes: Record<string, number> };
  starts: { pods: string[]; profiles: Record<string, number>; place: PodPlace; moved: PodPlace }[];
  already: number;
  not: number;
  undecided: number;
  not_looked_at: number;
  held: number;
}

export interface CapacityAnswer {
  free_memory_slices: number;
  profiles: Record<string, ProfileRoom>;
  requests?: {
    fit: boolean | null;
    reason?: string;
    placements: PodPlace[];
    changes: Change[];
    no_changes?: { kind: string; reason: string }[];
  };
  move?: MoveAnswer;
  notes?: string[];
}

export interface PlanAnswer {
  feasible: boolean | null;
  reason?: string;
  gpus: Record<string, number>;
  cost: number | null;
  lower_bound: number;
  optimal: boolean;
  layouts: { model: string; count: number; slices: PlannedSlice[] }[];
  stranded_memory_slices: number;
}

export function changeWords(change: Change): string {
  const proof = change.optimal ? "fewer are proven not to do" : "fewer may do: not proven";
  if (change.kind === "moves") return `restart ${change.pods.join(", ")} elsewhere (${proof})`;
  if (change.kind === "gpus") return `add ${change.gpus} × ${change.model} (${proof})`;
  return `ask for other profiles: ${change.swaps.map((swap) => `${swap.count} × ${swap.to} for ${swap.from}`).join(", ")}`;
}
