/** Numbers and times as the page writes them. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const NOT_LOOKED_AT = "not looked at";

export function count(value: number): string {
  return whole.format(value);
}

export function decimal(value: number): string {
  const size = Math.abs(value);
  return (size >= 100 ? whole : size >= 1 || size === 0 ? tenth : small).format(value);
}

/** A share as per cent; null is not known. */
export function percent(share: number | null): string {
  return share === null ? "–" : `${whole.format(share * 100)} %`;
}

/** MiB as GiB: what a slice really has, not what its name says. */
export function gib(mib: number): string {
  return `${decimal(mib / 1024)} GiB`;
}

export function plural(amount: number, one: string, many = `${one}s`): string {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}

/** Seconds as people say them: "45 s", "12 min", "3 h", "5 d". */
export function duration(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 2 * 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** Seconds between two times of the service; null where one is not known. */
export function elapsed(since: string | null, now: string): number | null {
  if (since === null) return null;
  const seconds = (Date.parse(now) - Date.parse(since)) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

export function ago(since: string | null, now: string): string {
  const seconds = elapsed(since, now);
  return seconds === null ? "–" : duration(seconds);
}

/** The time of day, in the reader's zone. */
export function clock(time: string | Date, seconds = true): string {
  const date = typeof time === "string" ? new Date(time) : time;
  if (Number.isNaN(date.getTime())) return "–";
  return date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(seconds && { second: "2-digit" }) });
}

/** "ns/name" in its two parts. */
export function podName(pod: string): { namespace: string; name: string } {
  const slash = pod.indexOf("/");
  return slash < 0 ? { namespace: "", name: pod } : { namespace: pod.slice(0, slash), name: pod.slice(slash + 1) };
}

/** "Deployment/chat" in words: "chat (Deployment)". */
export function ownerName(owner: string): string {
  const slash = owner.indexOf("/");
  return slash < 0 ? owner : `${owner.slice(slash + 1)} (${owner.slice(0, slash)})`;
}

/** "2 × 3g.20gb, 1 × 1g.5gb". */
export function requests(profiles: Record<string, number>): string {
  const parts = Object.entries(profiles).map(([name, n]) => (n === 1 ? name : `${n} × ${name}`));
  return parts.join(", ") || "–";
}
