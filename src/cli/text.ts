/** Characters that take two columns: the common cases of East Asian Width and of emoji. */
const WIDE =
  /^[\p{Emoji_Presentation}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u;
/** Control characters, and those that reverse the text around them: any role may write names into the table. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu;
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Makes a text of the table safe to show in one line. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, "\u{fffd}");
}

/** The columns that a text takes in a terminal. */
export function width(text: string): number {
  let columns = 0;
  for (const { segment } of graphemes.segment(text)) columns += WIDE.test(segment) ? 2 : 1;
  return columns;
}

/** The text in that many columns at most. */
export function shortened(text: string, columns: number): string {
  return width(text) <= columns ? text : fitted(text, columns).trimEnd();
}

/** The text in exactly that many columns: shortened with … or filled up with spaces. */
export function fitted(text: string, columns: number): string {
  const missing = columns - width(text);
  if (missing >= 0) return text + " ".repeat(missing);
  let kept = "";
  let used = 0;
  for (const { segment } of graphemes.segment(text)) {
    const more = width(segment);
    if (used + more > columns - 1) break;
    kept += segment;
    used += more;
  }
  return `${kept}…${" ".repeat(columns - 1 - used)}`;
}

const DEFAULT_COLUMNS = 80;

/** The terminal's width; a pipe or a file has none. */
export function columnsOf(): number {
  const { isTTY, columns } = process.stdout;
  return isTTY ? columns || DEFAULT_COLUMNS : Number.POSITIVE_INFINITY;
}

const LAST_YEAR = 9999;
const FOR_EVER = "for ever";

/** In the terminal's time zone: `2026-11-24 08:10:05`, or `for ever` for Postgres' `infinity`. */
export function localTime(date: Date): string {
  if (date.getFullYear() > LAST_YEAR) return FOR_EVER;
  const two = (part: number) => String(part).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")}`;
}

/** In short: the time alone on the same day, the date alone in another year. */
export function shortTime(date: Date, today: Date): string {
  const text = localTime(date);
  if (text === FOR_EVER) return text;
  const reference = localTime(today);
  if (text.slice(0, 10) === reference.slice(0, 10)) return text.slice(11);
  if (text.slice(0, 4) === reference.slice(0, 4)) return text.slice(5, 16);
  return text.slice(0, 10);
}

/** In the two largest units: `0s`, `45s`, `2m 10s`, `3h 0m`, `12d 4h`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  for (const [large, count, small, part] of UNITS) {
    if (whole < count) continue;
    return `${Math.floor(whole / count)}${large} ${Math.floor((whole % count) / part)}${small}`;
  }
  return `${whole}s`;
}

const UNITS = [
  ["d", 86_400, "h", 3600],
  ["h", 3600, "m", 60],
  ["m", 60, "s", 1],
] as const;
