/** What the slot map's looks mean; never by colour alone. */

import type { JSX } from "preact";
import type { ColourBy } from "./layout";

export function Legend({ by, names }: { by: ColourBy; names: string[] }): JSX.Element {
  const steps: [string, string][] =
    by === "profile"
      ? [["step-1", "1 slot"], ["step-2", "2"], ["step-4", "4"], ["step-5", "all"]]
      : by === "age"
        ? [["step-2", "under 1 h"], ["step-3", "1 h"], ["step-4", "1 d"], ["step-5", "1 week and older"]]
        : names.slice(0, 8).map((name, index) => [`name-${index + 1}`, name]);
  return (
    <ul class="legend" aria-label="Legend">
      {steps.map(([key, text]) => (
        <li key={key}>
          <span class={`swatch ${key}`} />
          {text}
        </li>
      ))}
      {by === "namespace" && names.length > 8 && <li>colours repeat after eight namespaces</li>}
      <li><span class="swatch idle" />idle</li>
      <li><span class="swatch promised" />promised</li>
      <li><span class="swatch foreign" />foreign</li>
      <li><span class="swatch stranded" />stranded</li>
      <li><span class="swatch ill">✕</span>ill</li>
    </ul>
  );
}
