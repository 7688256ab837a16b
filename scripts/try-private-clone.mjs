// Runs the demo and a test with a real PostgreSQL in a clone that no other user can enter, as one in a home
// folder may be. For root that is a case of its own: PostgreSQL then runs as another user.
import { join } from "node:path";
import { run } from "./packed-project.mjs";
import { createTemporaryFolder } from "./temporary-folder.mjs";

const commands = [
  ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"],
  ["npm", "run", "demo"],
  ["npx", "vitest", "run", "--project", "unit", "test/integration/isolation.test.ts"],
];

process.umask(0o077);
const { path, remove } = await createTemporaryFolder("bulkman-clone-");
try {
  await run("git", ["clone", "--quiet", join(import.meta.dirname, ".."), join(path, "bulkman")]);
  for (const [program, ...args] of commands)
    await run(program, args, { cwd: join(path, "bulkman") });
  console.log("In a private clone, too, the demo runs and a test with PostgreSQL passes.");
} finally {
  await remove();
}
