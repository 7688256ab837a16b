import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTemporaryFolder, removeAbandonedFolders } from "../../scripts/temporary-folder.mjs";

const script = join(import.meta.dirname, "../../scripts/temporary-folder.mjs");
let parent = "";

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "bulkman-folders-"));
});
afterEach(() => rm(parent, { recursive: true, force: true }));

/** The name of a folder that a process has created, and how that process is killed. */
async function createElsewhere(prefix: string) {
  const program = spawn(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { createTemporaryFolder } from ${JSON.stringify(script)};
       const options = { parent: ${JSON.stringify(parent)} };
       console.log((await createTemporaryFolder(${JSON.stringify(prefix)}, options)).path);
       setInterval(() => {}, 1000);`,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const [path] = await once(program.stdout, "data");
  const kill = async () => {
    program.kill("SIGKILL");
    await once(program, "exit");
  };
  return { name: basename(String(path).trim()), kill };
}

describe("a temporary folder", () => {
  it("is closed to other users, and removed with what is in it", async () => {
    const { path, remove } = await createTemporaryFolder("a-", { parent });
    await mkdir(join(path, "inner"));
    await writeFile(join(path, "inner/file"), "");
    await remove();
    expect(await readdir(parent)).toEqual([]);
  });

  it("is removed by the next one of its prefix when its process was killed, not before", async () => {
    const elsewhere = await createElsewhere("a-");
    const first = await createTemporaryFolder("a-", { parent });
    expect(await readdir(parent)).toContain(elsewhere.name);
    await elsewhere.kill();
    const other = await createTemporaryFolder("b-", { parent });
    expect(await readdir(parent)).toContain(elsewhere.name);
    const second = await createTemporaryFolder("a-", { parent });
    const left = [first, other, second].map(({ path }) => basename(path));
    expect((await readdir(parent)).sort()).toEqual(left.sort());
    for (const folder of [first, other, second]) await folder.remove();
  });

  it("is left alone when nothing shows that its process has ended", async () => {
    await mkdir(join(parent, "a-without-socket"));
    const removed: string[] = [];
    await removeAbandonedFolders("a-", {
      parent,
      beforeRemoval: async (path: string) => {
        removed.push(path);
      },
    });
    expect(await readdir(parent)).toEqual(["a-without-socket"]);
    expect(removed).toEqual([]);
  });
});
