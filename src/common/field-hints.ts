/**
 * What other libraries call our fields, in lower case: opossum, cockatiel, p-limit and p-queue, and then Polly,
 * resilience4j and Hystrix. Names that contain ours, or that ours contain, are found without this.
 */
const FOREIGN_NAMES = new Map(
  Object.entries({
    capacity: "maxConcurrentCalls",
    enabled: "circuitBreakerEnabled",
    errorthresholdpercentage: "failureRateThreshold",
    maxfailures: "failureThreshold",
    resettimeout: "isolationDuration",
    rollingcounttimeout: "windowSeconds",
    volumethreshold: "minimumCalls",

    duration: "windowSeconds",
    halfopenafter: "isolationDuration",
    minimumrps: "minimumCalls",
    threshold: "failureRateThreshold",

    concurrency: "maxConcurrentCalls",
    maxconcurrency: "maxConcurrentCalls",
    limit: "maxConcurrentCalls",

    breakduration: "isolationDuration",
    cooldown: "isolationDuration",
    durationofbreak: "isolationDuration",
    failureratio: "failureRateThreshold",
    minimumnumberofcalls: "minimumCalls",
    minimumthroughput: "minimumCalls",
    permitlimit: "maxConcurrentCalls",
    permittednumberofcallsinhalfopenstate: "successThreshold",
    queuelimit: "maxQueueSize",
    recoverytimeout: "isolationDuration",
    requestvolumethreshold: "minimumCalls",
    samplingduration: "windowSeconds",
    sleepwindow: "isolationDuration",
    waitdurationinopenstate: "isolationDuration",

    breakdurationgenerator: "isolationDuration",
    handlewhenresult: "classify",
    ignoreexceptions: "classify",
    isexcluded: "classify",
    issuccessful: "classify",
    maxwait: "maxWaitSeconds",
    maxwaitduration: "maxWaitSeconds",
    recordexceptions: "classify",
    recordresult: "classify",
    recordresultpredicate: "classify",
    shouldhandle: "classify",
    slowcallduration: "slowCallSeconds",
    slowcalldurationthreshold: "slowCallSeconds",
  }),
);

/** What the numbers of a field count. */
interface Measured {
  readonly unit?: "seconds" | "percent" | undefined;
}

const MILLISECONDS = /(in)?(ms|millis|milliseconds)$/;
/** Names that differ by no more edits are the same name, mistyped. */
const MAX_TYPO = 2;

/**
 * The field that was meant, most likely, in quotes; with its unit when the given name is of another library or
 * of another unit: `timeout: 5000` is 5 s elsewhere, and 83 minutes here.
 */
export function suggestField(given: string, rules: Readonly<Record<string, Measured>>): string {
  const wanted = plain(given.slice(0, 64));
  const foreign = FOREIGN_NAMES.get(wanted.replace(MILLISECONDS, ""));
  const isForeign = foreign !== undefined && Object.hasOwn(rules, foreign);
  const name = isForeign ? foreign : closestMatch(wanted, Object.keys(rules));
  const unit = rules[name]?.unit;
  if (unit === undefined || saysUnit(wanted, unit)) return `"${name}"`;
  const isTypo = !MILLISECONDS.test(wanted) && editDistance(wanted, plain(name)) <= MAX_TYPO;
  return isTypo ? `"${name}"` : `"${name}", in ${unit}`;
}

function plain(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}

function saysUnit(name: string, unit: string): boolean {
  return !MILLISECONDS.test(name) && name.includes(unit === "seconds" ? "second" : unit);
}

/** A name that contains the given one, else the fewest edits away. */
function closestMatch(wanted: string, names: readonly string[]): string {
  const distance = (name: string) => {
    const edits = editDistance(wanted, plain(name));
    return wanted !== "" && plain(name).includes(wanted) ? edits / 100 : edits;
  };
  return names.reduce((best, name) => (distance(name) < distance(best) ? name : best));
}

/** Levenshtein's distance: how many single letters to insert, delete or replace. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
