// The tables of docs/benchmarks.md.

const SHOWN = 2; // significant digits: more would not be the same tomorrow

export function tables(results) {
  return {
    calls: callsTable(results),
    load: loadTable(results),
    targets: targetsTable(results),
  };
}

function callsTable({ calls, machine, node, versions, date }) {
  const { oneAfterAnother, bursts } = calls;
  const rows = oneAfterAnother.rows.map(({ name, guarantees, ratio, nanoseconds }, index) => {
    const burst = bursts.rows[index];
    return [name, cell(nanoseconds, ratio), cell(burst.nanoseconds, burst.ratio), guarantees];
  });
  const head = ["", "one after another", `bursts of ${calls.burst}`, "what it guarantees"];
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.os}, Node ${node}, ${date}.`,
    `${peers.join(", ")}. ${calls.permits} permits; medians of ${calls.rounds} rounds.`,
    "",
    table(head, rows),
  ].join("\n");
}

function cell(nanoseconds, ratio) {
  return `${rounded(nanoseconds.median)} ns · ${rounded(ratio.median)}×`;
}

function loadTable({ load }) {
  const head = ["", "served", "p50", "p99", "opened", "in vain", "most at once"];
  const sections = load.scenarios.map(({ name, calls, servable, subjects }) => {
    const rows = subjects.map(({ name, served, p50, p99, opened, inVain, mostAtOnce }) => [
      name,
      `${Math.round((100 * served) / servable)} %`,
      `${p50} ms`,
      `${p99} ms`,
      opened,
      inVain,
      mostAtOnce,
    ]);
    return `**${name}**: ${calls} calls, of which ${servable} can be served\n\n${table(head, rows)}`;
  });
  return sections.join("\n\n");
}

function targetsTable({ targets }) {
  const rows = targets.map(({ title, unit, seen, limit, met }) => [
    title,
    `${rounded(seen)}${unit}`,
    `${limit}${unit}`,
    met ? "met" : "**not met**",
  ]);
  return table(["", "measured", "at most", ""], rows);
}

/** Three digits where two would make a limit look met, or missed, that is not. */
export function rounded(number) {
  const digits = number >= 0.8 && number < 2 ? SHOWN + 1 : SHOWN;
  return Number(number.toPrecision(digits)).toString();
}

function table(head, rows) {
  const lines = [head, head.map(() => "---"), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`.replace(/^\| {2}/, "| ")).join("\n");
}
