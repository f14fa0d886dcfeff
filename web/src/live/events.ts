/** Server-sent events out of a stream of text. EventSource cannot send a bearer token, so fetch reads them. */

export interface ServerEvent {
  name: string;
  data: string;
}

/** Takes text as it comes and gives the events that are whole. A document of megabytes comes in many parts. */
export class EventParser {
  private parts: string[] = [];
  private name = "";
  private data: string[] = [];

  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.parts.push(text.slice(from, end));
      const line = this.parts.length === 1 ? this.parts[0]! : this.parts.join("");
      this.parts = [];
      const event = this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (event) events.push(event);
      from = end + 1;
    }
    if (from < text.length) this.parts.push(text.slice(from));
    return events;
  }

  private line(line: string): ServerEvent | null {
    if (line === "") {
      const event = this.data.length ? { name: this.name || "message", data: this.data.join("\n") } : null;
      this.name = "";
      this.data = [];
      return event;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment: the heartbeat
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.name = value;
    else if (field === "data") this.data.push(value);
    return null;
  }
}

/** Hear every event of `answer` until it ends or nothing, not even a heartbeat, came for `silenceMs`. */
export async function hear(answer: Response, silenceMs: number, on: (event: ServerEvent) => void): Promise<void> {
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      let timer = 0;
      const silence = new Promise<never>((_, reject) => {
        timer = window.setTimeout(() => reject(new Error("silence")), silenceMs);
      });
      const part = await Promise.race([reader.read(), silence]).finally(() => window.clearTimeout(timer));
      if (part.done) return;
      for (const event of parser.push(part.value)) on(event);
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}
