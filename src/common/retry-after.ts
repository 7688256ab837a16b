const SECONDS = /^\d+(?=\s*(?:,|$))/;
/** The three forms of a date in HTTP (RFC 9110, 5.6.7) begin with the day of the week. */
const DATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*?\d\d:\d\d:\d\d(?: GMT| \d{4})/;

/**
 * Reads the header `Retry-After`: seconds or a date, the first of several.
 * @returns seconds from `time` (milliseconds of the epoch), over 0; `undefined` for zero, a past date, and everything else
 */
export function parseRetryAfter(value: unknown, time: number): number | undefined {
  const first: unknown = Array.isArray(value) ? value[0] : value;
  const text = (typeof first === "number" ? String(first) : first) ?? "";
  if (typeof text !== "string") return undefined;
  const trimmed = text.trim().slice(0, 256);
  const digits = SECONDS.exec(trimmed)?.[0];
  const seconds = digits === undefined ? secondsUntil(trimmed, time) : Number(digits);
  return seconds > 0 ? seconds : undefined;
}

function secondsUntil(text: string, time: number): number {
  const date = DATE.exec(text)?.[0];
  if (date === undefined) return 0;
  // The form of asctime() has no time zone; it is UTC like the others.
  return (Date.parse(date.endsWith("GMT") ? date : `${date} GMT`) - time) / 1000;
}
