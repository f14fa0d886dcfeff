/** What follows from the document, worked out once for each node: nodes that did not change are the same objects. */

import type { OverviewGpu, OverviewNode, OverviewSlice } from "./overview";
import { elapsed, ownerName } from "./format";

export type SegmentKind = "slice" | "free" | "stranded";

/** Neighbouring slots of a GPU with the same thing on them. */
export interface Segment {
  kind: SegmentKind;
  start: number;
  size: number;
  slice: OverviewSlice | null;
}

const segmentsByGpu = new WeakMap<OverviewGpu, Segment[]>();

/** Where a GPU's catalogue is not known its slices say how many slots there are at least. */
export function slots(gpu: OverviewGpu): number {
  return gpu.memory_slices ?? Math.max(1, ...gpu.slices.map((slice) => slice.start + slice.size));
}

/** All slots of a GPU, from the first to the last. */
export function segments(gpu: OverviewGpu): Segment[] {
  let found = segmentsByGpu.get(gpu);
  if (!found) {
    found = cut(gpu);
    segmentsByGpu.set(gpu, found);
  }
  return found;
}

function cut(gpu: OverviewGpu): Segment[] {
  const total = slots(gpu);
  const stranded = new Set(gpu.stranded ?? []);
  const result: Segment[] = [];
  const slices = [...gpu.slices].sort((a, b) => a.start - b.start);
  let slot = 0;
  const free = (until: number) => {
    while (slot < until) {
      const kind: SegmentKind = stranded.has(slot) ? "stranded" : "free";
      const start = slot;
      while (slot < until && stranded.has(slot) === (kind === "stranded")) slot += 1;
      result.push({ kind, start, size: slot - start, slice: null });
    }
  };
  for (const slice of slices) {
    free(Math.min(slice.start, total));
    result.push({ kind: "slice", start: slice.start, size: slice.size, slice });
    slot = Math.max(slot, slice.start + slice.size);
  }
  free(total);
  return result;
}

/** An allocated slice on which nothing has run for a while. */
export interface UnusedSlice {
  node: string;
  gpu: OverviewGpu;
  slice: OverviewSlice;
  unusedS: number;
}

export const UNUSED_FROM_S = 600;

type Unused = Omit<UnusedSlice, "unusedS">;
const unusedByNode = new WeakMap<OverviewNode, Unused[]>();

function unusedOf(node: OverviewNode): Unused[] {
  let found = unusedByNode.get(node);
  if (!found) {
    found = [];
    for (const gpu of node.gpus) {
      for (const slice of gpu.slices) {
        if (slice.state === "allocated" && slice.unused_since !== null) found.push({ node: node.name, gpu, slice });
      }
    }
    unusedByNode.set(node, found);
  }
  return found;
}

/** Allocated slices that have been unused for long, the longest first. */
export function unusedSlices(nodes: OverviewNode[], now: string): UnusedSlice[] {
  const unused: UnusedSlice[] = [];
  for (const node of nodes) {
    for (const each of unusedOf(node)) {
      const unusedS = elapsed(each.slice.unused_since, now) ?? 0;
      if (unusedS >= UNUSED_FROM_S) unused.push({ ...each, unusedS });
    }
  }
  return unused.sort((a, b) => b.unusedS - a.unusedS);
}

const namespacesByNode = new WeakMap<OverviewNode, string[]>();

/** The namespaces that have slices, sorted. */
export function namespaces(nodes: OverviewNode[]): string[] {
  const all = new Set<string>();
  for (const node of nodes) {
    let names = namespacesByNode.get(node);
    if (!names) {
      names = [...new Set(node.gpus.flatMap((gpu) => gpu.slices.map((slice) => slice.namespace ?? "")))].filter(Boolean);
      namespacesByNode.set(node, names);
    }
    for (const name of names) all.add(name);
  }
  return [...all].sort();
}

/** The models that there are, the most frequent first. */
export function models(nodes: OverviewNode[]): string[] {
  const counts = new Map<string, number>();
  for (const node of nodes) for (const gpu of node.gpus) counts.set(gpu.model, (counts.get(gpu.model) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([model]) => model);
}

/** Where a pod runs: the node of the first slice that it has, or null. */
export function nodeOf(nodes: OverviewNode[], pod: string): string | null {
  for (const node of nodes)
    for (const gpu of node.gpus)
      for (const slice of gpu.slices)
        if (slice.state === "allocated" && `${slice.namespace}/${slice.pod}` === pod) return node.name;
  return null;
}

export const NO_OWNER = "no owner";
export const OWNER_NOT_KNOWN = "owner not known";

/** Whose a slice is: what makes its pod anew, with the namespace. A recording may be older than this field. */
export function ownerOf(slice: OverviewSlice): string {
  if (slice.pod === null) return "";
  if (slice.owner === null || slice.owner === undefined) return OWNER_NOT_KNOWN;
  return slice.owner === "" ? NO_OWNER : `${slice.namespace}/${ownerName(slice.owner)}`;
}
