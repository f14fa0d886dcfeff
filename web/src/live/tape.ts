/** What was seen, as a first document and changes: a recording, or what this tab has received. Bounded. */

import type { Overview, OverviewChanges, OverviewNode } from "../overview";

const CHECKPOINT_EVERY = 50;

/** `overview` after `changes`; both stay as they are, and what did not change is shared. */
export function apply(overview: Overview, changes: OverviewChanges): Overview {
  return {
    ...overview,
    ...changes.sections,
    revision: changes.revision,
    time: changes.time,
    nodes: changedNodes(overview.nodes, changes.nodes, changes.gone),
  };
}

/** The change that makes `next` of `before`: what a new connection brings. */
export function whole(before: Overview, next: Overview): OverviewChanges {
  const { revision, time, nodes, version: _version, may: _may, ...sections } = next;
  const names = new Set(nodes.map((node) => node.name));
  const gone = before.nodes.filter((node) => !names.has(node.name)).map((node) => node.name);
  return { revision, time, sections, nodes, gone };
}

const positions = new WeakMap<OverviewNode[], Map<string, number>>();

function positionsOf(nodes: OverviewNode[]): Map<string, number> {
  let found = positions.get(nodes);
  if (!found) {
    found = new Map(nodes.map((node, index) => [node.name, index]));
    positions.set(nodes, found);
  }
  return found;
}

function changedNodes(nodes: OverviewNode[], changed: OverviewNode[], gone: string[]): OverviewNode[] {
  if (!changed.length && !gone.length) return nodes;
  const index = positionsOf(nodes);
  if (!gone.length && changed.every((node) => index.has(node.name))) {
    const next = nodes.slice();
    for (const node of changed) next[index.get(node.name)!] = node;
    positions.set(next, index);
    return next;
  }
  const byName = new Map(nodes.map((node) => [node.name, node]));
  for (const name of gone) byName.delete(name);
  for (const node of changed) byName.set(node.name, node);
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

export interface TapeLimits {
  frames: number;
  bytes: number;
}

export class Tape {
  private changes: OverviewChanges[] = [];
  private sizes: number[] = [];
  private bytes = 0;
  private checkpoints = new Map<number, Overview>(); // by frame
  private latest: Overview;

  constructor(
    private first: Overview,
    private readonly limits: TapeLimits = { frames: 3600, bytes: 24 * 2 ** 20 },
  ) {
    this.latest = first;
  }

  /** A recording, whole. */
  static of(first: Overview, changes: OverviewChanges[]): Tape {
    const tape = new Tape(first, { frames: Infinity, bytes: Infinity });
    for (const change of changes) tape.push(change, 0);
    return tape;
  }

  /** How many moments there are. */
  get frames(): number {
    return this.changes.length + 1;
  }

  /** The last moment. */
  get last(): Overview {
    return this.latest;
  }

  /** When a moment was. */
  time(frame: number): string {
    return frame <= 0 ? this.first.time : this.changes[Math.min(frame, this.changes.length) - 1]!.time;
  }

  /** Add what came; `size` is its length as text. Returns how many of the oldest moments were given up for it. */
  push(changes: OverviewChanges, size: number): number {
    this.latest = apply(this.latest, changes);
    this.changes.push(changes);
    this.sizes.push(size);
    this.bytes += size;
    if (this.changes.length % CHECKPOINT_EVERY === 0) this.checkpoints.set(this.changes.length, this.latest);
    return this.shorten();
  }

  /** The document at a moment, 0 being the first. */
  at(frame: number): Overview {
    const wanted = Math.max(0, Math.min(frame, this.changes.length));
    if (wanted === this.changes.length) return this.latest;
    const base = wanted - (wanted % CHECKPOINT_EVERY);
    let overview = this.checkpoints.get(base);
    let from = base;
    if (!overview) {
      overview = this.first;
      from = 0;
    }
    for (let index = from; index < wanted; index++) overview = apply(overview, this.changes[index]!);
    return overview;
  }

  private shorten(): number {
    if (this.changes.length <= this.limits.frames && this.bytes <= this.limits.bytes) return 0;
    let gone = 0; // a piece at a time, or every further change would move all of the rest
    while (this.changes.length - gone > this.limits.frames * 0.9 || this.bytes > this.limits.bytes * 0.9) {
      if (gone >= this.changes.length) break;
      this.first = apply(this.first, this.changes[gone]!);
      this.bytes -= this.sizes[gone]!;
      gone += 1;
    }
    this.changes = this.changes.slice(gone);
    this.sizes = this.sizes.slice(gone);
    this.checkpoints.clear();
    return gone;
  }
}
