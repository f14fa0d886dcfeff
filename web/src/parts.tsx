/** Small parts that panels are made of. */

import type { ComponentChildren, JSX } from "preact";

interface PanelProps {
  id: string;
  title: string;
  note?: string;
  tools?: ComponentChildren;
  children: ComponentChildren;
}

/** A panel: a region with a heading. */
export function Panel({ id, title, note, tools, children }: PanelProps): JSX.Element {
  return (
    <section class="panel" id={id} aria-labelledby={`${id}-title`}>
      <header class="panel-head">
        <h2 id={`${id}-title`}>{title}</h2>
        {note && <span class="note">{note}</span>}
        {tools && <div class="tools">{tools}</div>}
      </header>
      {children}
    </section>
  );
}

/** What stands where there is nothing to show, and why. */
export function Nothing({ children }: { children: ComponentChildren }): JSX.Element {
  return <p class="nothing">{children}</p>;
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}

/** A labelled select. */
export function Choice<T extends string>({ label, value, options, onChange }: ChoiceProps<T>): JSX.Element {
  return (
    <label class="choice">
      <span>{label}</span>
      <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {options.map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A share as a bar; the number stands beside it. */
export function Bar({ share, second, hatched }: { share: number; second?: number; hatched?: boolean }): JSX.Element {
  const width = (part: number) => `${Math.max(0, Math.min(1, part)) * 100}%`;
  return (
    <span class="bar" aria-hidden="true">
      {second !== undefined && <span class="bar-second" style={{ width: width(second) }} />}
      <span class={hatched ? "bar-fill hatched" : "bar-fill"} style={{ width: width(share) }} />
    </span>
  );
}

/** A table that scrolls sideways by itself, by keyboard too. */
export function Scroll({ label, children }: { label: string; children: ComponentChildren }): JSX.Element {
  return (
    <div class="scroll" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}
