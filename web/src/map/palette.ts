/** The colours of the slot map, light and dark, and its hatching. Read from the page's own style sheet. */

import { elapsed } from "../format";
import type { OverviewSlice } from "../overview";
import { ageBucket, type ColourBy } from "./layout";

export interface Palette {
  free: string;
  line: string;
  text: string;
  faint: string;
  accent: string;
  bad: string;
  foreign: string;
  page: string;
  steps: string[]; // of one hue: few slots to many, or young to old
  names: string[]; // of namespaces
}

/** What the style sheet says at `element`. */
export function readPalette(element: Element): Palette {
  const style = getComputedStyle(element);
  const value = (name: string) => style.getPropertyValue(name).trim();
  const numbered = (name: string, n: number) => Array.from({ length: n }, (_, i) => value(`--${name}-${i + 1}`));
  return {
    free: value("--map-free"),
    line: value("--map-line"),
    text: value("--text"),
    faint: value("--faint"),
    accent: value("--accent"),
    bad: value("--bad"),
    foreign: value("--map-foreign"),
    page: value("--panel"),
    steps: numbered("step", 5),
    names: numbered("name", 8),
  };
}

export function colourOf(slice: OverviewSlice, by: ColourBy, palette: Palette, names: string[], now: string): string {
  if (by === "namespace") {
    const index = slice.namespace === null ? -1 : names.indexOf(slice.namespace);
    return index < 0 ? palette.foreign : palette.names[index % palette.names.length]!;
  }
  if (by === "age") return palette.steps[3 - ageBucket(elapsed(slice.since, now)) + 1] ?? palette.steps[1]!;
  return palette.steps[sizeStep(slice.size)]!;
}

export function sizeStep(size: number): number {
  return size <= 1 ? 0 : size <= 2 ? 1 : size <= 3 ? 2 : size <= 4 ? 3 : 4;
}

/** Whether text on this colour has to be light. */
export function isDark(colour: string): boolean {
  const hex = /^#([0-9a-f]{6})$/i.exec(colour)?.[1];
  if (!hex) return false;
  const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
  const linear = (c: number) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r!) + 0.7152 * linear(g!) + 0.0722 * linear(b!) < 0.32;
}

/** Diagonal lines over nothing. */
export function hatch(context: CanvasRenderingContext2D, colour: string, scale: number): CanvasPattern | string {
  const key = `${colour} ${scale}`;
  if (lastHatch?.key !== key) lastHatch = { key, pattern: tile(context, colour, scale) };
  return lastHatch.pattern;
}

let lastHatch: { key: string; pattern: CanvasPattern | string } | null = null;

function tile(context: CanvasRenderingContext2D, colour: string, scale: number): CanvasPattern | string {
  const size = Math.round(6 * scale);
  const drawn = document.createElement("canvas");
  drawn.width = drawn.height = size;
  const pen = drawn.getContext("2d");
  if (!pen) return colour;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.2 * scale;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  return context.createPattern(drawn, "repeat") ?? colour;
}
