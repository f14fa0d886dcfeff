/** What the page knows: the document, where it comes from, and the moment that is shown. Panels listen to it. */

import type { Overview, OverviewChanges, PageRecording, RecordingInfo } from "../overview";
import { hear } from "./events";
import { ask, keepToken, Refusal, request, wordsOf } from "./session";
import { Tape, whole } from "./tape";

export type Phase = "connecting" | "login" | "forbidden" | "ready";
export type Source = "live" | "recording";

export interface View {
  phase: Phase;
  source: Source;
  overview: Overview | null; // what is shown
  problem: string; // why there is a login, or what the service said last
  offlineSince: Date | null;
  frames: number;
  frame: number; // the moment shown; frames - 1 is the last
  past: boolean; // not the present: nothing can be done
}

const STREAM = "/api/v1/overview/changes";
const SILENCE_MS = 45_000; // three heartbeats
const BACK_OFF_MS = [500, 1000, 2000, 4000, 8000, 15_000];

export class Store {
  private view: View = {
    phase: "connecting",
    source: "live",
    overview: null,
    problem: "",
    offlineSince: null,
    frames: 0,
    frame: 0,
    past: false,
  };
  private listeners = new Set<(view: View) => void>();
  private tape: Tape | null = null;
  private times: string[] | null = null; // of a recording that the service reads for us
  private pinned: number | null = null; // the moment chosen; null follows the present
  private wanted = 0;
  private stop: AbortController | null = null;
  private wake: (() => void) | null = null;
  private announced = false;

  get current(): View {
    return this.view;
  }

  listen(listener: (view: View) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Begin: with the recording in the page, or with the service. */
  start(): void {
    const inside = document.getElementById("recording");
    if (inside?.textContent) {
      const recording = JSON.parse(inside.textContent) as PageRecording;
      this.tape = Tape.of(recording.first, recording.changes);
      this.openRecording();
    } else {
      void this.run();
    }
  }

  logIn(token: string): void {
    keepToken(token);
    this.restart();
  }

  logOut(): void {
    keepToken(null);
    this.tape = null;
    this.change({ phase: "login", overview: null, problem: "" });
    this.stop?.abort();
  }

  /** Do not wait for the back-off. */
  tryNow(): void {
    this.wake?.();
  }

  /** When a moment was. */
  time(frame: number): string {
    return this.times ? (this.times[frame] ?? "") : (this.tape?.time(frame) ?? "");
  }

  /** Show a moment; the last one of a live page follows the present. */
  show(frame: number): void {
    const last = this.view.frames - 1;
    this.pinned = this.view.source === "live" && frame >= last ? null : Math.max(0, Math.min(frame, last));
    if (this.times) void this.fetchMoment(this.pinned ?? last);
    else this.refresh();
  }

  private restart(): void {
    this.stop?.abort();
    this.change({ phase: "connecting", problem: "" });
    void this.run();
  }

  private async run(): Promise<void> {
    const stop = new AbortController();
    this.stop = stop;
    for (let failures = 0; !stop.signal.aborted; failures++) {
      try {
        const answer = await request(STREAM, { signal: stop.signal });
        await hear(answer, SILENCE_MS, (event) => {
          failures = -1;
          this.take(event.name, event.data);
        });
      } catch (error) {
        if (stop.signal.aborted) return;
        if (await this.refused(error)) return;
      }
      if (stop.signal.aborted) return;
      this.change({ offlineSince: this.view.offlineSince ?? new Date() });
      await this.pause(BACK_OFF_MS[Math.min(Math.max(failures, 0), BACK_OFF_MS.length - 1)]!, stop.signal);
    }
  }

  /** Whether nothing more is to be tried. */
  private async refused(error: unknown): Promise<boolean> {
    const status = error instanceof Refusal ? error.status : 0;
    if (status === 401 || status === 403) {
      this.tape = null;
      this.change({ phase: status === 401 ? "login" : "forbidden", problem: wordsOf(error), overview: null });
      return true;
    }
    if (status === 404 && (await this.findRecording())) return true;
    this.change({ problem: wordsOf(error) });
    return false;
  }

  private pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer = window.setTimeout(resolve, ms * (0.75 + Math.random() / 2));
      this.wake = () => {
        window.clearTimeout(timer);
        resolve();
      };
      signal.addEventListener("abort", () => this.wake?.(), { once: true });
    });
  }

  private take(name: string, data: string): void {
    if (name === "overview") {
      const overview = JSON.parse(data) as Overview;
      if (this.tape) this.add(whole(this.tape.last, overview), data.length);
      else this.tape = new Tape(overview);
    } else if (name === "changes" && this.tape) {
      this.add(JSON.parse(data) as OverviewChanges, data.length);
    }
    this.soon();
  }

  private add(changes: OverviewChanges, size: number): void {
    const gone = this.tape!.push(changes, size);
    if (this.pinned !== null) this.pinned = Math.max(0, this.pinned - gone);
  }

  /** Once a frame at most: several changes may come together, and a hidden tab draws nothing. */
  private soon(): void {
    if (this.announced) return;
    this.announced = true;
    requestAnimationFrame(() => {
      this.announced = false;
      this.refresh();
    });
  }

  private refresh(): void {
    const tape = this.tape;
    if (!tape) return;
    const last = tape.frames - 1;
    const frame = this.pinned ?? last;
    this.change({
      phase: "ready",
      overview: tape.at(frame),
      frames: tape.frames,
      frame,
      past: this.view.source === "recording" || frame < last,
      offlineSince: null,
      problem: "",
    });
  }

  private async findRecording(): Promise<boolean> {
    try {
      const recording = await ask<RecordingInfo>("/api/v1/recording");
      this.times = recording.times;
      this.change({ source: "recording", frames: recording.times.length, past: true });
      await this.fetchMoment(recording.times.length - 1);
      return true;
    } catch {
      return false;
    }
  }

  private openRecording(): void {
    this.view = { ...this.view, source: "recording" };
    this.pinned = 0;
    this.refresh();
  }

  private async fetchMoment(frame: number): Promise<void> {
    this.wanted = frame;
    const time = this.times?.[frame] ?? "";
    try {
      const overview = await ask<Overview>(`/api/v1/overview?at=${encodeURIComponent(time)}`);
      if (this.wanted === frame) this.change({ phase: "ready", overview, frame, offlineSince: null, problem: "" });
    } catch (error) {
      this.change({ problem: wordsOf(error), offlineSince: new Date() });
    }
  }

  private change(part: Partial<View>): void {
    this.view = { ...this.view, ...part };
    for (const listener of this.listeners) listener(this.view);
  }
}
