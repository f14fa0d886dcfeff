/** Utilisation and stranded share over time. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { clock, percent, plural } from "../format";
import type { Overview } from "../overview";
import { Nothing, Panel } from "../parts";

type Point = Overview["history"][number];

const WIDTH = 640;
const HEIGHT = 150;

export function Trend({ overview }: { overview: Overview }): JSX.Element {
  const points = overview.history;
  const [at, setAt] = useState<number | null>(null);
  const first = points[0];
  const last = points.at(-1);
  const chosen = at === null ? last : points[Math.min(at, points.length - 1)];
  if (!first || !last || points.length < 2) {
    return (
      <Panel id="trend" title="Use and stranding over time">
        <Nothing>The service has not counted long enough.</Nothing>
      </Panel>
    );
  }
  const from = Date.parse(first[0]);
  const span = Math.max(1, Date.parse(last[0]) - from);
  const x = (point: Point) => ((Date.parse(point[0]) - from) / span) * WIDTH;
  const nearest = (share: number) => {
    const wanted = share * WIDTH;
    let best = 0;
    points.forEach((point, index) => {
      if (Math.abs(x(point) - wanted) < Math.abs(x(points[best]!) - wanted)) best = index;
    });
    setAt(best);
  };
  return (
    <Panel
      id="trend" title="Use and stranding over time"
      note={`${clock(first[0], false)} – ${clock(last[0], false)}`}
    >
      <p class="trend-now" aria-live="off">
        <span><i class="key use" />In use <b>{percent(chosen![2])}</b></span>
        <span><i class="key lost" />Stranded, of free <b>{percent(chosen![1])}</b></span>
        <span>{plural(chosen![3], "pod")} waiting at {clock(chosen![0])}</span>
      </p>
      <svg
        class="trend" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img"
        aria-label={`From ${percent(first[2])} in use and ${percent(first[1])} stranded to ${percent(last[2])} and ${percent(last[1])}`}
        onMouseMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          nearest((event.clientX - box.left) / box.width);
        }}
        onMouseLeave={() => setAt(null)}
      >
        {[0, 0.25, 0.5, 0.75, 1].map((share) => (
          <line key={share} class="grid" x1="0" x2={WIDTH} y1={level(share)} y2={level(share)} />
        ))}
        <path class="area-use" d={area(points, x, 2)} />
        <path class="line-use" d={line(points, x, 2)} />
        <path class="line-lost" d={line(points, x, 1)} />
        {at !== null && chosen && <line class="cursor" x1={x(chosen)} x2={x(chosen)} y1="0" y2={HEIGHT} />}
      </svg>
      <div class="axis" aria-hidden="true">
        <span>0 %</span>
        <span>100 %</span>
      </div>
    </Panel>
  );
}

function level(share: number): number {
  return 3 + (1 - share) * (HEIGHT - 6);
}

/** A path with a gap where a value is not known. */
function line(points: Point[], x: (point: Point) => number, column: 1 | 2): string {
  let pen = "M";
  let path = "";
  for (const point of points) {
    const value = point[column];
    if (value === null) {
      pen = "M";
      continue;
    }
    path += `${pen}${x(point).toFixed(1)} ${level(value).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

function area(points: Point[], x: (point: Point) => number, column: 1 | 2): string {
  const known = points.filter((point) => point[column] !== null);
  if (known.length < 2) return "";
  return `${line(known, x, column)}L${x(known.at(-1)!).toFixed(1)} ${HEIGHT}L${x(known[0]!).toFixed(1)} ${HEIGHT}Z`;
}
