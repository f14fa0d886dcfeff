/** The slot map by keyboard: which place an arrow key leads to. Pure. */

import { segments } from "../derive";
import type { Place } from "./draw";
import type { Block, Layout } from "./layout";

/** The place after a key, or null where the key is none of ours. */
export function step(layout: Layout, from: Place | null, key: string): Place | null {
  const block = from ? (again(layout, from.block) ?? layout.blocks[0]) : layout.blocks[0];
  if (!block) return null;
  if (!from) return ARROWS.has(key) ? first(block, 0) : null;
  const row = Math.max(0, block.gpus.findIndex((gpu) => gpu.uuid === from.gpu.uuid));
  switch (key) {
    case "ArrowRight":
      return sideways(layout, block, row, from, 1);
    case "ArrowLeft":
      return sideways(layout, block, row, from, -1);
    case "ArrowDown":
      return upright(layout, block, row + 1, from);
    case "ArrowUp":
      return upright(layout, block, row - 1, from);
    case "Home":
      return first(layout.blocks[0]!, 0);
    case "End":
      return first(layout.blocks.at(-1)!, layout.blocks.at(-1)!.gpus.length - 1);
    case "PageDown":
      return first(beside(layout, block, 1), 0);
    case "PageUp":
      return first(beside(layout, block, -1), 0);
    default:
      return null;
  }
}

const ARROWS = new Set(["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End", "PageDown", "PageUp"]);

/** The same GPU's block and segment in another layout, after the cluster has changed; null if it is gone. */
export function find(layout: Layout, place: Place | null): Place | null {
  if (!place) return null;
  const block = again(layout, place.block, place.gpu.uuid);
  const gpu = block?.gpus.find((each) => each.uuid === place.gpu.uuid);
  if (!block || !gpu) return null;
  const { start } = place.segment;
  const segment = segments(gpu).find((each) => start >= each.start && start < each.start + each.size);
  return segment ? { block, gpu, segment } : null;
}

function again(layout: Layout, block: Block, gpu?: string): Block | undefined {
  return layout.blocks.find(
    (each) => each.node.name === block.node.name && (gpu === undefined || each.gpus.some((one) => one.uuid === gpu)),
  );
}

function beside(layout: Layout, block: Block, by: number): Block {
  const index = layout.blocks.indexOf(block) + by;
  return layout.blocks[Math.max(0, Math.min(layout.blocks.length - 1, index))]!;
}

function first(block: Block, row: number): Place | null {
  const gpu = block.gpus[row];
  const segment = gpu && segments(gpu)[0];
  return gpu && segment ? { block, gpu, segment } : null;
}

function sideways(layout: Layout, block: Block, row: number, from: Place, by: number): Place | null {
  const gpu = block.gpus[row]!;
  const all = segments(gpu);
  const index = all.findIndex((segment) => segment.start === from.segment.start) + by;
  const segment = all[index];
  if (segment) return { block, gpu, segment };
  const next = beside(layout, block, by); // the block beside it, at the same height
  if (next === block) return { block, gpu, segment: all[Math.max(0, Math.min(all.length - 1, index))]! };
  const other = next.gpus[Math.min(row, next.gpus.length - 1)]!;
  const there = segments(other);
  return { block: next, gpu: other, segment: there[by > 0 ? 0 : there.length - 1]! };
}

function upright(layout: Layout, block: Block, row: number, from: Place): Place | null {
  let target = block;
  let at = row;
  if (row < 0 || row >= block.gpus.length) {
    const below = layout.blocks.filter((each) => (row < 0 ? each.y < block.y : each.y > block.y));
    const y = row < 0 ? below.at(-1)?.y : below[0]?.y;
    const nearest = below
      .filter((each) => each.y === y)
      .sort((a, b) => Math.abs(a.x - block.x) - Math.abs(b.x - block.x))[0];
    if (!nearest) return from;
    target = nearest;
    at = row < 0 ? nearest.gpus.length - 1 : 0;
  }
  const gpu = target.gpus[at]!;
  const { start } = from.segment;
  const segment = segments(gpu).find((each) => start >= each.start && start < each.start + each.size) ?? segments(gpu)[0]!;
  return { block: target, gpu, segment };
}
