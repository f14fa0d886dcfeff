/** Rows of a form that can be added and removed. */

import type { ComponentChildren, JSX } from "preact";

interface RowsProps<T> {
  legend: string;
  rows: T[];
  empty: T;
  most: number;
  onChange: (rows: T[]) => void;
  children: (row: T, change: (part: Partial<T>) => void) => ComponentChildren;
}

export function Rows<T extends object>({ legend, rows, empty, most, onChange, children }: RowsProps<T>): JSX.Element {
  return (
    <fieldset class="rows">
      <legend>{legend}</legend>
      {rows.map((row, index) => (
        <div class="row" key={index}>
          {children(row, (part) => onChange(rows.map((each, at) => (at === index ? { ...each, ...part } : each))))}
          {rows.length > 1 && (
            <button
              type="button" class="close" aria-label={`Remove line ${index + 1} of ${legend}`}
              onClick={() => onChange(rows.filter((_, at) => at !== index))}
            >
              ✕
            </button>
          )}
        </div>
      ))}
      {rows.length < most && (
        <button type="button" class="link" onClick={() => onChange([...rows, { ...empty }])}>
          Add a line
        </button>
      )}
    </fieldset>
  );
}

export function TextField({ label, value, list, onChange }: {
  label: string;
  value: string;
  list: string;
  onChange: (value: string) => void;
}): JSX.Element {
  return (
    <label class="choice">
      <span>{label}</span>
      <input type="text" required value={value} list={list} onInput={(event) => onChange(event.currentTarget.value)} />
    </label>
  );
}

export function NumberField({ label, value, least = 0, step = 1, placeholder = "", onChange }: {
  label: string;
  value: string;
  least?: number;
  step?: number | "any";
  placeholder?: string;
  onChange: (value: string) => void;
}): JSX.Element {
  return (
    <label class="choice narrow">
      <span>{label}</span>
      <input
        type="number" inputMode="decimal" min={least} step={step} value={value} placeholder={placeholder}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </label>
  );
}
