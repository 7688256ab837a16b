import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const SOURCE = join(import.meta.dirname, "../src");

/** What the files of each room may import, besides those of the same room. "." are the files of `src/` itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  common: [],
  storage: ["common"],
  circuit: [".", "common", "storage"],
  fleet: [".", "common", "storage"],
  call: [".", "circuit", "common", "fleet", "storage"],
  metrics: [".", "common", "storage"],
  undici: [".", "common"],
  cli: ["common", "storage"],
  ".": ["call", "common", "storage"],
};

const roomOf = (file: string) => (file.includes("/") ? (file.split("/")[0] ?? "") : ".");

function importsOf(file: string): string[] {
  const text = readFileSync(join(SOURCE, file), "utf8");
  return Array.from(text.matchAll(/(?:from|import)\(?\s*"(\.[^"]*)"/g), ([, path]) =>
    relative(SOURCE, join(SOURCE, dirname(file), path ?? "")),
  ).filter((path) => !path.startsWith(".."));
}

describe("the rooms of src", () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );

  it.each(Object.entries(MAY_IMPORT))("%s imports only %j", (room, others) => {
    const allowed = new Set([room, ...others]);
    const own = files.filter((file) => roomOf(file) === room);
    expect(own.length).toBeGreaterThan(0);
    const wrong = own.flatMap((file) =>
      importsOf(file)
        .filter((path) => !allowed.has(roomOf(path)))
        .map((path) => `${file} imports ${path}`),
    );
    expect(wrong).toEqual([]);
  });

  it("are all named here", () => {
    expect(new Set(files.map(roomOf))).toEqual(new Set(Object.keys(MAY_IMPORT)));
  });
});
