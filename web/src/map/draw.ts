/** Paints the part of the slot map that is seen. Rectangles of one look are painted together: that is what is fast. */

import { segments, slots, type Segment } from "../derive";
import type { OverviewGpu } from "../overview";
import { matches, visible, type Block, type Layout, type Wishes } from "./layout";
import { colourOf, hatch, isDark, type Palette } from "./palette";

export interface Picture {
  layout: Layout;
  wishes: Wishes;
  palette: Palette;
  names: string[]; // namespaces, for their colours
  now: string;
  top: number; // the first visible pixel
  width: number;
  height: number;
  pixels: number; // device pixels in a CSS pixel
  cursor: Place | null;
  hovered: Place | null;
}

/** A segment of a GPU of a block. */
export interface Place {
  block: Block;
  gpu: OverviewGpu;
  segment: Segment;
}

type Boxes = number[]; // x, y, width, height, …

interface Look {
  fills: Map<string, Boxes>;
  faded: Map<string, Boxes>;
  hatched: Boxes;
  outlined: Boxes; // idle
  dashed: Boxes; // promised and kept
  crossed: Boxes; // ill GPUs
  struck: Boxes; // ill slices without a label, which are not told by their colour alone
  dotted: Boxes; // foreign
  labels: { text: string; x: number; y: number; width: number; colour: string }[];
}

const FONT = '11px Inter, system-ui, "Segoe UI", sans-serif';

export function draw(context: CanvasRenderingContext2D, picture: Picture): void {
  const { layout, pixels } = picture;
  context.setTransform(pixels, 0, 0, pixels, 0, 0);
  context.fillStyle = picture.palette.page;
  context.fillRect(0, 0, picture.width, picture.height);
  context.translate(0, -picture.top);
  const look: Look = {
    fills: new Map(), faded: new Map(), hatched: [], outlined: [], dashed: [], crossed: [], struck: [], dotted: [], labels: [],
  };
  const seen = visible(layout, picture.top - 40, picture.top + picture.height + 40);
  for (const block of seen) gatherBlock(block, picture, look);
  paint(context, picture, look);
  write(context, picture, seen, look);
  for (const place of [picture.hovered, picture.cursor]) {
    if (place) ring(context, picture, place, place === picture.cursor ? 2 : 1.25);
  }
}

/** Where a segment lies, in the map's pixels. */
export function boxOf(layout: Layout, place: Place): { x: number; y: number; width: number; height: number } {
  const { scale } = layout;
  const row = place.block.gpus.indexOf(place.gpu);
  return {
    x: place.block.x + scale.label + place.segment.start * scale.slot,
    y: place.block.y + scale.title + row * scale.row,
    width: place.segment.size * scale.slot,
    height: scale.bar,
  };
}

/** What is at a point of the map. */
export function placeAt(layout: Layout, x: number, y: number): Place | null {
  const { scale } = layout;
  for (const block of layout.blocks) {
    if (y < block.y || y > block.y + block.height || x < block.x || x > block.x + block.width) continue;
    const gpu = block.gpus[Math.floor((y - block.y - scale.title) / scale.row)];
    if (!gpu) return null;
    const slot = Math.max(0, Math.floor((x - block.x - scale.label) / scale.slot));
    const segment = segments(gpu).find((each) => slot >= each.start && slot < each.start + each.size);
    return segment ? { block, gpu, segment } : null;
  }
  return null;
}

function gatherBlock(block: Block, picture: Picture, look: Look): void {
  const { scale } = picture.layout;
  const { palette, wishes } = picture;
  const filtered = wishes.text.trim() !== "" || wishes.namespace !== "" || wishes.minAgeS > 0;
  const gap = scale.density === "large" ? 1.5 : 1;
  block.gpus.forEach((gpu, row) => {
    const y = block.y + scale.title + row * scale.row;
    const left = block.x + scale.label;
    if (gpu.state === "ill" || gpu.state === "out_of_service") {
      look.crossed.push(left - 1.5, y - 1.5, slots(gpu) * scale.slot + 3 - gap, scale.bar + 3);
    }
    for (const segment of segments(gpu)) {
      const x = left + segment.start * scale.slot;
      const w = segment.size * scale.slot - gap;
      const { slice } = segment;
      if (!slice) {
        add(look.fills, palette.free, x, y, w, scale.bar);
        if (segment.kind === "stranded") look.hatched.push(x, y, w, scale.bar);
        continue;
      }
      const named = block.whole || (wishes.text !== "" && gpu.model.toLowerCase().includes(wishes.text.toLowerCase()));
      const fade = filtered && !matches(slice, wishes, picture.now, named);
      const into = fade ? look.faded : look.fills;
      const colour = colourOf(slice, wishes.colourBy, palette, picture.names, picture.now);
      switch (slice.state) {
        case "idle":
          add(look.fills, palette.page, x, y, w, scale.bar);
          look.outlined.push(x, y, w, scale.bar);
          break;
        case "promised":
        case "kept":
          add(look.fills, palette.free, x, y, w, scale.bar);
          look.dashed.push(x, y, w, scale.bar);
          break;
        case "foreign":
          add(into, palette.foreign, x, y, w, scale.bar);
          if (scale.density !== "small") look.dotted.push(x, y, w, scale.bar);
          break;
        case "ill":
          add(into, palette.bad, x, y, w, scale.bar);
          if (scale.density !== "large") look.struck.push(x, y, w, scale.bar);
          break;
        default:
          add(into, colour, x, y, w, scale.bar);
      }
      if (scale.density === "large" && w > 17) label(look, picture, segment, x, y, w, colour, fade);
    }
  });
}

function label(
  look: Look, picture: Picture, segment: Segment, x: number, y: number, w: number, colour: string, fade: boolean,
): void {
  const slice = segment.slice!;
  const { palette } = picture;
  const quiet = slice.state === "idle" || slice.state === "promised" || slice.state === "kept" || fade;
  const ground = slice.state === "ill" ? palette.bad : slice.state === "foreign" ? palette.foreign : colour;
  const short = slice.profile.split(".")[0]!;
  const text =
    slice.state === "ill" ? (w > 70 ? `✕ ${slice.profile}` : w > 34 ? `✕ ${short}` : "✕")
    : slice.state === "foreign" ? `${w > 70 ? "foreign " : ""}${short}`
    : slice.state === "idle" ? (w > 70 ? `idle ${slice.profile}` : short)
    : slice.state === "promised" ? (w > 90 ? `promised ${short}` : short)
    : slice.state === "kept" ? (w > 70 ? `kept ${short}` : short)
    : w > 110 && slice.pod ? `${slice.profile} ${slice.pod}`
    : w > 52 ? slice.profile
    : short;
  look.labels.push({
    text, x: x + (w < 26 ? 3 : 5), y: y + picture.layout.scale.bar / 2, width: w - (w < 26 ? 4 : 9),
    colour: quiet ? palette.faint : isDark(ground) ? "#ffffff" : "#0c1a1a",
  });
}

function paint(context: CanvasRenderingContext2D, picture: Picture, look: Look): void {
  const { palette, layout } = picture;
  for (const [colour, boxes] of look.fills) fill(context, colour, boxes);
  context.globalAlpha = 0.22;
  for (const [colour, boxes] of look.faded) fill(context, colour, boxes);
  context.globalAlpha = 1;
  fill(context, hatch(context, palette.faint, picture.pixels), look.hatched);
  const small = layout.scale.density === "small";
  if (small) {
    edges(context, palette.accent, look.outlined, true);
    edges(context, palette.faint, look.dashed, false);
  } else {
    strokes(context, palette.accent, 1.5, [], look.outlined);
    strokes(context, palette.faint, 1, [4, 3], look.dashed);
  }
  strokes(context, palette.bad, 1.5, [], look.crossed);
  context.fillStyle = palette.page;
  for (let i = 0; i < look.struck.length; i += 4) {
    const [x, y, w, h] = look.struck.slice(i, i + 4) as [number, number, number, number];
    context.fillRect(x, y + h / 2 - 0.5, w, 1);
  }
  for (let i = 0; i < look.dotted.length; i += 4) {
    const [x, y, w, h] = look.dotted.slice(i, i + 4) as [number, number, number, number];
    for (let at = x + w - 7; at > x + w - 18 && at > x + 2; at -= 5) context.fillRect(at, y + h / 2 - 1, 2, 2);
  }
}

function write(context: CanvasRenderingContext2D, picture: Picture, seen: Block[], look: Look): void {
  const { layout, palette } = picture;
  const { scale } = layout;
  context.font = FONT;
  context.textBaseline = "middle";
  for (const heading of layout.headings) {
    if (heading.y < picture.top - 40 || heading.y > picture.top + picture.height) continue;
    context.fillStyle = palette.text;
    context.font = `600 ${FONT}`;
    context.fillText(heading.text, 0, heading.y + 14);
    context.font = FONT;
  }
  for (const { text, x, y, width, colour } of look.labels) {
    context.fillStyle = colour;
    context.fillText(fit(context, text, width), x, y + 0.5);
  }
  if (scale.title === 0 && scale.label === 0) return;
  for (const block of seen) {
    if (scale.title) {
      context.fillStyle = block.node.ready === false ? palette.bad : palette.text;
      const text = block.node.ready === false ? `⊘ ${block.node.name}` : block.node.name;
      context.fillText(fit(context, text, block.width + scale.gapX - 4), block.x + scale.label, block.y + scale.title / 2 - 1);
    }
    if (!scale.label) continue;
    block.gpus.forEach((gpu, row) => {
      const mark = gpu.state === "ill" ? "✕" : gpu.state === "out_of_service" ? "⊘" : gpu.state === "unknown" ? "?" : "";
      context.fillStyle = mark ? palette.bad : palette.faint;
      context.textAlign = "right";
      const y = block.y + scale.title + row * scale.row + scale.bar / 2 + 0.5;
      context.fillText(mark || String(gpu.index), block.x + scale.label - 8, y);
      context.textAlign = "left";
      if (!gpu.mig && !gpu.slices.length) {
        context.fillStyle = palette.faint;
        context.fillText("MIG is off", block.x + scale.label + 6, y);
      }
    });
  }
}

function fit(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (text.length * 5 <= width || context.measureText(text).width <= width) return text;
  let shorter = text.slice(0, Math.max(1, Math.floor(width / 5.5)));
  while (shorter.length > 1 && context.measureText(`${shorter}…`).width > width) shorter = shorter.slice(0, -1);
  return shorter.length > 1 ? `${shorter}…` : "";
}

function ring(context: CanvasRenderingContext2D, picture: Picture, place: Place, width: number): void {
  const box = boxOf(picture.layout, place);
  context.strokeStyle = picture.palette.text;
  context.lineWidth = width;
  context.strokeRect(box.x - 1, box.y - 1, box.width + 0.5, box.height + 2);
}

function add(boxes: Map<string, Boxes>, colour: string, x: number, y: number, w: number, h: number): void {
  const list = boxes.get(colour);
  if (list) list.push(x, y, w, h);
  else boxes.set(colour, [x, y, w, h]);
}

function fill(context: CanvasRenderingContext2D, style: string | CanvasPattern, boxes: Boxes): void {
  context.fillStyle = style;
  for (let i = 0; i < boxes.length; i += 4) context.fillRect(boxes[i]!, boxes[i + 1]!, boxes[i + 2]!, boxes[i + 3]!);
}

/** Outlines of a pixel: thousands of stroked paths would take longer than a frame. Without `sides`, top and bottom. */
function edges(context: CanvasRenderingContext2D, colour: string, boxes: Boxes, sides: boolean): void {
  context.fillStyle = colour;
  for (let i = 0; i < boxes.length; i += 4) {
    const [x, y, w, h] = [boxes[i]!, boxes[i + 1]!, boxes[i + 2]!, boxes[i + 3]!];
    context.fillRect(x, y, w, 1);
    context.fillRect(x, y + h - 1, w, 1);
    if (!sides) continue;
    context.fillRect(x, y, 1, h);
    context.fillRect(x + w - 1, y, 1, h);
  }
}

function strokes(context: CanvasRenderingContext2D, colour: string, width: number, dash: number[], boxes: Boxes): void {
  if (!boxes.length) return;
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  const inset = width / 2;
  for (let i = 0; i < boxes.length; i += 4) {
    context.rect(boxes[i]! + inset, boxes[i + 1]! + inset, boxes[i + 2]! - width, boxes[i + 3]! - width);
  }
  context.stroke();
  context.setLineDash([]);
}
