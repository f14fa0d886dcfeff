/** What a place of the slot map is, in words: for the tooltip, the screen reader and the table. */

import type { Place } from "./draw";
import type { OverviewGpu, OverviewSlice } from "../overview";
import type { Segment } from "../derive";
import { ago } from "../format";

export function stateWords(segment: Segment): string {
  if (!segment.slice) return segment.kind === "stranded" ? "free, but stranded: no profile in demand fits" : "free";
  return SLICE_STATES[segment.slice.state];
}

export const SLICE_STATES: Record<OverviewSlice["state"], string> = {
  idle: "idle: cut, no pod has it",
  allocated: "in use",
  foreign: "foreign: not cut by migsched",
  promised: "promised to a pod",
  kept: "kept free for a move or a gang",
  ill: "ill: not to be used",
};

export const GPU_STATES: Record<OverviewGpu["state"], string> = {
  ok: "in order",
  ill: "ill",
  out_of_service: "out of service",
  unknown: "state not known",
};

export function slotRange(segment: { start: number; size: number }): string {
  const last = segment.start + segment.size - 1;
  return last === segment.start ? `slot ${segment.start}` : `slots ${segment.start}–${last}`;
}

/** One sentence about a place. */
export function sentence(place: Place, now: string): string {
  const { slice } = place.segment;
  const where = `${place.block.node.name}, GPU ${place.gpu.index}, ${slotRange(place.segment)}`;
  if (!slice) return `${where}: ${stateWords(place.segment)}`;
  const who = slice.pod ? `${slice.namespace}/${slice.pod}, ` : "";
  const since = slice.since ? `, for ${ago(slice.since, now)}` : "";
  const unused = slice.unused_since ? `, unused for ${ago(slice.unused_since, now)}` : "";
  return `${where}: ${who}${slice.profile}, ${stateWords(place.segment)}${since}${unused}`;
}
