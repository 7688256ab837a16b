// Makes the declarations of both builds compatible: a class with `#private` in its declaration is a type of its
// own in each build, so that a Bulkhead of the CommonJS build is rejected where that of the ES module is expected.
// Usage: node scripts/open-types.mjs <folder of the build>
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const [, , folder = "dist"] = process.argv;
for (const name of await readdir(folder)) {
  if (!/\.d\.c?ts$/.test(name)) continue;
  const file = join(folder, name);
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace(/^\s*#private;\n/gm, ""));
}
