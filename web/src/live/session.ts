/** Who asks: a bearer token, kept for this tab only, and requests that send it. */

const KEY = "migsched-token";
/** A page of another site cannot set a header of its own without asking the server first. */
const OWN_HEADER = "X-Migsched-Action";

/** The service said no, or nothing that can be read. `status` is 0 where it was not reached. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export function hasToken(): boolean {
  return sessionStorage.getItem(KEY) !== null;
}

/** Keep the token until the tab is closed; null forgets it. */
export function keepToken(token: string | null): void {
  if (token === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}

export interface Call {
  method?: "GET" | "POST";
  body?: unknown;
  signal?: AbortSignal;
}

/** An answer whose status is 2xx. Throws Refusal. */
export async function request(path: string, call: Call = {}): Promise<Response> {
  const headers: Record<string, string> = { [OWN_HEADER]: "1" };
  const token = sessionStorage.getItem(KEY);
  if (token !== null) headers["Authorization"] = `Bearer ${token}`;
  if (call.method === "POST") headers["Content-Type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(path, {
      method: call.method ?? "GET",
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      ...(call.method === "POST" ? { body: JSON.stringify(call.body ?? {}) } : {}),
      ...(call.signal ? { signal: call.signal } : {}),
    });
  } catch (error) {
    if (call.signal?.aborted) throw error;
    throw new Refusal(0, "The service does not answer.");
  }
  if (!answer.ok) throw new Refusal(answer.status, await problemOf(answer));
  return answer;
}

/** The answer's document. Its type is the caller's word: the service's tests hold it to the declaration. */
export async function ask<T>(path: string, call: Call = {}): Promise<T> {
  const answer = await request(path, call);
  try {
    return (await answer.json()) as T;
  } catch {
    throw new Refusal(answer.status, `${path} did not answer with JSON.`);
  }
}

/** What an error says, for people. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function problemOf(answer: Response): Promise<string> {
  try {
    const problem = (await answer.json()) as { detail?: unknown };
    if (typeof problem.detail === "string") return problem.detail;
  } catch {
    // no problem document: the status has to do
  }
  return `The service answered with status ${answer.status}.`;
}
