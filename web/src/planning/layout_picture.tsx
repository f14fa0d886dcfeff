/** A GPU as it is to be cut. */

import type { JSX } from "preact";
import type { OverviewProfile } from "../overview";

export interface PlannedSlice {
  profile: string;
  start: number;
  pinned?: boolean;
}

const SLOT = 34;

export function LayoutPicture({ model, slices, profiles }: {
  model: string;
  slices: PlannedSlice[];
  profiles: OverviewProfile[];
}): JSX.Element {
  const sorted = [...slices].sort((a, b) => a.start - b.start);
  const sizes = new Map(profiles.map((profile) => [profile.name, profile.memory_slices]));
  const sizeAt = (index: number) => {
    const slice = sorted[index]!;
    const end = sorted[index + 1]?.start ?? slice.start + guess(slice);
    return sizes.get(slice.profile) ?? Math.max(1, Math.min(end, slice.start + guess(slice)) - slice.start);
  };
  const total = Math.max(8, ...sorted.map((slice, index) => slice.start + sizeAt(index)));
  const text = sorted.map((slice) => `${slice.profile} at ${slice.start}`).join(", ");
  return (
    <svg class="layout" viewBox={`0 0 ${total * SLOT} 30`} role="img" aria-label={`${model}: ${text || "empty"}`}>
      {Array.from({ length: total }, (_, slot) => (
        <rect key={slot} class="slot" x={slot * SLOT + 1} y="1" width={SLOT - 2} height="28" rx="3" />
      ))}
      {sorted.map((slice, index) => {
        const size = sizeAt(index);
        return (
          <g key={slice.start} class={`size-${Math.min(size, 8)}`}>
            <rect
              class={slice.pinned ? "planned pinned" : "planned"}
              x={slice.start * SLOT + 1} y="1" width={size * SLOT - 2} height="28" rx="3"
            />
            <text x={(slice.start + size / 2) * SLOT} y="19" text-anchor="middle">
              {size > 1 ? slice.profile : slice.profile.split(".")[0]}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

/** Memory slices of a profile that no GPU of the cluster has: its name tells at least the compute slices. */
function guess(slice: PlannedSlice): number {
  const compute = Number(/^(\d+)g/.exec(slice.profile)?.[1] ?? 1);
  return compute >= 5 ? 8 : compute >= 3 ? 4 : compute;
}
