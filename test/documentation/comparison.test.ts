import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CALLS } from "./compare-calls.js";
import { CIRCUITS } from "./compare-circuits.js";
import { EXTRAS } from "./compare-extras.js";
import { ROOT, readPage } from "./examples.js";
import { PEERS, packageOf } from "./peers.js";
import { tableBelow } from "./tables.js";

const OBSERVED = { ...CALLS, ...CIRCUITS, ...EXTRAS };
const [head = [], ...lines] = tableBelow(
  readPage("docs/comparison.md"),
  "## Libraries for Node.js",
  { head: true },
);
const rows = lines.filter(([title]) => !title?.startsWith("**"));

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the comparison with libraries for Node.js", () => {
  it("has the rows that are observed here, and no others", () => {
    expect(rows.map(([title]) => title)).toEqual(Object.keys(OBSERVED));
  });

  it("names the versions that are compared", () => {
    const names = PEERS.slice(1).map((peer) => {
      const path = join(ROOT, "node_modules", packageOf(peer), "package.json");
      const { version } = JSON.parse(readFileSync(path, "utf8"));
      return `${peer} ${version.split(".")[0]}`;
    });
    expect(head).toEqual(["", "bulkman", ...names]);
  });

  it("has every row of the README's, with the same cells", () => {
    const [readmeHead, ...short] = tableBelow(readPage("README.md"), "## Comparison", {
      head: true,
    });
    expect(readmeHead).toEqual(head);
    expect(short).toHaveLength(8);
    for (const row of short) expect(rows).toContainEqual(row);
  });

  for (const [title = "", ...cells] of rows) {
    it.for(PEERS.map((peer, column) => ({ peer, cell: cells[column] })))(
      `${title}: $peer: $cell`,
      async ({ peer, cell }) => {
        expect(await OBSERVED[title]?.[peer]()).toBe(cell);
      },
    );
  }
});
