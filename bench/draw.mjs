// Makes the pictures and the tables of docs/benchmarks.md. `node bench/draw.mjs <directory>` makes them anew
// from results.json, with a copy of the page, in that directory.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { pictureOfCalls } from "./picture-of-calls.mjs";
import { pictureOfLoad } from "./picture-of-load.mjs";
import { pictureOfMemory } from "./picture-of-memory.mjs";
import { tables } from "./tables.mjs";

/**
 * @param {string} paths.pictures a directory
 * @param {string} [paths.page] a page whose tables are replaced
 */
export function draw(results, { pictures, page }) {
  writeFileSync(join(pictures, "bench-calls.svg"), pictureOfCalls(results));
  writeFileSync(join(pictures, "bench-load.svg"), pictureOfLoad(results));
  writeFileSync(join(pictures, "bench-memory.svg"), pictureOfMemory(results));
  if (page === undefined) return;
  const text = readFileSync(page, "utf8");
  const generated = /(<!-- npm run bench: (\w+) -->\n)[\s\S]*?(\n<!-- end -->)/g;
  const made = tables(results);
  writeFileSync(
    page,
    text.replaceAll(generated, (_, start, name, end) => `${start}\n${made[name]}\n${end}`),
  );
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [directory] = process.argv.slice(2);
  const page = join(directory, "benchmarks.md");
  copyFileSync(new URL("../docs/benchmarks.md", import.meta.url), page);
  const results = JSON.parse(readFileSync(new URL("results.json", import.meta.url), "utf8"));
  draw(results, { pictures: directory, page });
}
