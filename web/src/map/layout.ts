/** Where each GPU of the slot map lies. Pure: nodes and wishes in, rectangles out. */

import { NO_OWNER, OWNER_NOT_KNOWN, ownerOf } from "../derive";
import type { OverviewGpu, OverviewNode, OverviewSlice } from "../overview";
import { elapsed } from "../format";

export type GroupBy = "node" | "model" | "namespace" | "owner" | "age";
export type ColourBy = "profile" | "namespace" | "age";
export type Density = "large" | "medium" | "small";

export interface Wishes {
  groupBy: GroupBy;
  colourBy: ColourBy;
  density: Density | "auto";
  text: string; // of node, model, namespace, pod or owner
  namespace: string; // "" is all
  minAgeS: number;
}

/** Sizes in CSS pixels. */
export interface Scale {
  density: Density;
  slot: number; // width of a memory slice
  row: number; // height of a GPU, with the gap under it
  bar: number; // height of its bar
  label: number; // width before the bar
  title: number; // height over a node's GPUs
  gapX: number;
  gapY: number;
}

/** GPUs of one node, drawn under each other. */
export interface Block {
  node: OverviewNode;
  gpus: OverviewGpu[];
  whole: boolean; // the node or a model matches: all of its slices do
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Heading {
  text: string;
  y: number;
}

export interface Layout {
  scale: Scale;
  blocks: Block[]; // by y
  headings: Heading[];
  height: number;
}

const HEADING = 30;
const SCALES: Record<Density, Omit<Scale, "density">> = {
  large: { slot: 30, row: 26, bar: 22, label: 22, title: 22, gapX: 20, gapY: 14 },
  medium: { slot: 11, row: 13, bar: 11, label: 0, title: 16, gapX: 14, gapY: 9 },
  small: { slot: 5, row: 6, bar: 5, label: 0, title: 0, gapX: 6, gapY: 6 },
};
const LARGE_MOST = 160; // GPUs
const MEDIUM_MOST = 2000;

/** Lay all matching GPUs out in `width` pixels. `now` is the document's time. */
export function layOut(nodes: OverviewNode[], wishes: Wishes, width: number, now: string): Layout {
  const groups = group(nodes, wishes, now);
  const gpus = sum(groups.map(([, blocks]) => sum(blocks.map((block) => block.gpus.length))));
  const scale = scaleFor(wishes.density, gpus, sum(groups.map(([, blocks]) => blocks.length)), width, widest(nodes));
  const layout: Layout = { scale, blocks: [], headings: [], height: 0 };
  let y = 0;
  for (const [text, blocks] of groups) {
    if (text) {
      layout.headings.push({ text, y });
      y += HEADING;
    }
    y = flow(blocks, scale, width, y, layout.blocks) + (text ? 6 : 0);
  }
  layout.height = y;
  return layout;
}

type Loose = Pick<Block, "node" | "gpus" | "whole">;

function flow(blocks: Loose[], scale: Scale, width: number, top: number, into: Block[]): number {
  let x = 0;
  let y = top;
  let tallest = 0;
  for (const block of blocks) {
    const w = scale.label + scale.slot * Math.max(...block.gpus.map((gpu) => gpu.memory_slices ?? 8));
    const h = scale.title + scale.row * block.gpus.length;
    if (x > 0 && x + w > width + 0.5) {
      x = 0;
      y += tallest + scale.gapY;
      tallest = 0;
    }
    into.push({ ...block, x: Math.round(x), y, width: w, height: h });
    x += w + scale.gapX;
    tallest = Math.max(tallest, h);
  }
  return blocks.length ? y + tallest + scale.gapY : y;
}

function scaleFor(density: Wishes["density"], gpus: number, blocks: number, width: number, slots: number): Scale {
  const chosen: Density =
    density !== "auto" ? density : gpus <= LARGE_MOST ? "large" : gpus <= MEDIUM_MOST ? "medium" : "small";
  const scale = { density: chosen, ...SCALES[chosen] };
  if (chosen === "large") {
    // As many columns as fit, and these as wide as there is room: edges are then aligned.
    const least = scale.label + slots * 19;
    const columns = Math.max(1, Math.min(Math.floor((width + scale.gapX) / (least + scale.gapX)), blocks));
    const room = (width - scale.gapX * (columns - 1)) / columns - scale.label;
    scale.slot = Math.max(8, Math.min(46, Math.floor(room / slots)));
  }
  if (chosen !== "large") {
    const block = scale.slot * slots;
    const columns = Math.max(1, Math.floor((width + scale.gapX) / (block + scale.gapX)));
    if (columns > 1 && gpus > 8 * columns) scale.gapX = (width - columns * block) / (columns - 1);
  }
  return scale;
}

function widest(nodes: OverviewNode[]): number {
  let most = 1;
  for (const node of nodes) for (const gpu of node.gpus) most = Math.max(most, gpu.memory_slices ?? 8);
  return most;
}

function group(nodes: OverviewNode[], wishes: Wishes, now: string): [string, Loose[]][] {
  const matching: Loose[] = [];
  for (const node of nodes) {
    const match = matchNode(node, wishes, now);
    if (match) matching.push(match);
  }
  if (wishes.groupBy === "node") return [["", matching]];
  const groups = new Map<string, Loose[]>();
  for (const block of matching) {
    const parts = new Map<string, OverviewGpu[]>();
    for (const gpu of block.gpus) {
      const key = keyOf(gpu, wishes.groupBy, now);
      const part = parts.get(key);
      if (part) part.push(gpu);
      else parts.set(key, [gpu]);
    }
    for (const [key, gpus] of parts) {
      const all = groups.get(key);
      if (all) all.push({ ...block, gpus });
      else groups.set(key, [{ ...block, gpus }]);
    }
  }
  const order = wishes.groupBy === "age" ? AGES.map(([, name]) => name) : [];
  const rank = (key: string) => (LAST.includes(key) ? 1e9 + LAST.indexOf(key) : order.indexOf(key));
  return [...groups].sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

function matchNode(node: OverviewNode, wishes: Wishes, now: string): Loose | null {
  if (!node.gpus.length) return null;
  const text = wishes.text.trim().toLowerCase();
  const narrow = wishes.namespace !== "" || wishes.minAgeS > 0;
  if (!text && !narrow) return { node, gpus: node.gpus, whole: true };
  const byName = text !== "" && node.name.toLowerCase().includes(text);
  const gpus = node.gpus.filter((gpu) => {
    const byModel = byName || text === "" || gpu.model.toLowerCase().includes(text);
    if (byModel && !narrow) return true;
    return gpu.slices.some((slice) => matches(slice, wishes, now, byModel));
  });
  return gpus.length ? { node, gpus, whole: byName && !narrow } : null;
}

/** Whether a slice is what was asked for; `named` says that its node or GPU has the text already. */
export function matches(slice: OverviewSlice, wishes: Wishes, now: string, named: boolean): boolean {
  if (wishes.namespace && slice.namespace !== wishes.namespace) return false;
  if (wishes.minAgeS > 0) {
    const age = elapsed(slice.since, now);
    if (age === null || age < wishes.minAgeS) return false;
  }
  if (named) return true;
  const text = wishes.text.trim().toLowerCase();
  return `${slice.namespace ?? ""}/${slice.pod ?? ""} ${slice.profile} ${slice.owner ?? ""}`.toLowerCase().includes(text);
}

const NOBODY = "nobody";
const LAST = [NO_OWNER, OWNER_NOT_KNOWN, NOBODY]; // groups after those that have a name
export const AGES: [number, string][] = [
  [7 * 86400, "a week and older"],
  [86400, "a day and older"],
  [3600, "an hour and older"],
  [0, "under an hour"],
];

export function ageBucket(seconds: number | null): number {
  return seconds === null ? 0 : AGES.findIndex(([from]) => seconds >= from);
}

/** The group of a GPU: by what has most of its slots, or by its oldest slice. */
function keyOf(gpu: OverviewGpu, by: GroupBy, now: string): string {
  if (by === "model") return gpu.model;
  if (by === "age") {
    const ages = gpu.slices.filter((slice) => slice.pod).map((slice) => ageBucket(elapsed(slice.since, now)));
    return ages.length ? AGES[Math.min(...ages)]![1] : NOBODY;
  }
  const slotsBy = new Map<string, number>();
  for (const slice of gpu.slices) {
    const name = by === "namespace" ? (slice.namespace ?? "") : ownerOf(slice);
    if (name) slotsBy.set(name, (slotsBy.get(name) ?? 0) + slice.size);
  }
  let best = NOBODY;
  let most = 0;
  for (const [name, slots] of slotsBy) {
    if (slots > most || (slots === most && name < best)) [best, most] = [name, slots];
  }
  return best;
}

function sum(numbers: number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

/** The blocks between two heights. */
export function visible(layout: Layout, from: number, to: number): Block[] {
  return layout.blocks.filter((block) => block.y + block.height >= from && block.y <= to);
}
