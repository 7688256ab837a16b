/** A page in Prometheus's text format. */
export interface Page {
  readonly families: ReadonlyMap<string, { readonly help: string; readonly type: string }>;
  readonly samples: readonly Sample[];
}

interface Sample {
  /** Name of the family: without `_bucket`, `_sum` and `_count` of a histogram. */
  readonly family: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"/y;

/**
 * Reads a page, and throws at whatever breaks the format's rules: a line that is none, a family that
 * is told twice, in pieces or without help and type, a sample that is there twice, a histogram whose
 * buckets are not cumulative or disagree with its count.
 */
export function readPage(text: string): Page {
  const families = new Map<string, { help: string; type: string }>();
  const samples: Sample[] = [];
  const seen = new Set<string>();
  const closed = new Set<string>();
  let current = "";
  const enter = (family: string) => {
    if (family === current) return;
    if (closed.has(family)) throw new Error(`${family} is told in pieces`);
    if (current !== "") closed.add(current);
    current = family;
  };
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, kind, name = "", rest = ""] = /^# (HELP|TYPE|UNIT) (\S+) (.*)$/.exec(line) ?? [];
    if (kind !== undefined) {
      if (!NAME.test(name)) throw new Error(`wrong name: ${line}`);
      enter(name);
      const family = families.get(name) ?? { help: "", type: "" };
      families.set(name, family);
      if (kind === "HELP") family.help = once(family.help, rest, line);
      if (kind === "TYPE") family.type = once(family.type, rest, line);
      continue;
    }
    const sample = readSample(line, families);
    enter(sample.family);
    const { name: sampleName, labels } = sample;
    const key = JSON.stringify([sampleName, Object.entries(labels).sort()]);
    if (seen.has(key)) throw new Error(`there twice: ${line}`);
    seen.add(key);
    samples.push(sample);
  }
  for (const [name, { help, type }] of families) {
    if (help === "" || type === "") throw new Error(`${name} lacks its help or its type`);
    if (type === "counter" && !name.endsWith("_total")) throw new Error(`${name} lacks _total`);
  }
  checkHistograms(samples, families);
  return { families, samples };
}

function once(before: string, now: string, line: string): string {
  if (before !== "") throw new Error(`told twice: ${line}`);
  return now;
}

function readSample(line: string, families: Page["families"]): Sample {
  const [, name = "", inner = "", number = ""] = /^([^{ ]+)(?:\{(.*)\})? (\S+)$/s.exec(line) ?? [];
  const value = number === "+Inf" ? Number.POSITIVE_INFINITY : Number(number);
  if (!NAME.test(name) || number === "" || Number.isNaN(value)) throw new Error(`what is: ${line}`);
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < inner.length) {
    const [, label, escaped] = LABEL.exec(inner) ?? [];
    if (label === undefined || escaped === undefined) throw new Error(`wrong labels: ${line}`);
    Object.defineProperty(labels, label, { value: plain(escaped), enumerable: true });
    if (inner[LABEL.lastIndex] === ",") LABEL.lastIndex++;
  }
  const stem = name.replace(/_(bucket|sum|count)$/, "");
  const family = families.get(stem)?.type === "histogram" ? stem : name;
  if (!families.has(family)) throw new Error(`comes before its type: ${line}`);
  return { family, name, labels, value };
}

function plain(text: string): string {
  return text.replaceAll(/\\(.)/gs, (_, letter: string) => (letter === "n" ? "\n" : letter));
}

function checkHistograms(samples: readonly Sample[], families: Page["families"]): void {
  const series = new Map<string, Sample[]>();
  for (const sample of samples) {
    if (families.get(sample.family)?.type !== "histogram") continue;
    const { le, ...labels } = sample.labels;
    if ((le !== undefined) !== sample.name.endsWith("_bucket"))
      throw new Error(`le: ${sample.name}`);
    const key = JSON.stringify([sample.family, Object.entries(labels).sort()]);
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const [key, parts] of series) {
    const buckets = parts.filter(({ labels }) => labels["le"] !== undefined);
    const counts = buckets.map(({ value }) => value);
    const bounds = buckets.map(({ labels }) => Number(labels["le"]?.replace("+Inf", "Infinity")));
    const count = parts.find(({ name }) => name.endsWith("_count"))?.value;
    const isRising = (numbers: number[]) => numbers.every((n, i) => n >= (numbers[i - 1] ?? 0));
    if (!isRising(counts) || !isRising(bounds) || bounds.at(-1) !== Number.POSITIVE_INFINITY) {
      throw new Error(`the buckets are in disorder: ${key}`);
    }
    if (count === undefined || count !== counts.at(-1))
      throw new Error(`the count is wrong: ${key}`);
    if (parts.length !== buckets.length + 2) throw new Error(`parts are missing: ${key}`);
  }
}
