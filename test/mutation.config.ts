import { defineConfig } from "vitest/config";

/**
 * The tests that can fail for a mutant of a call or of a circuit, and need no Postgres. Tests of what uses a bulkhead
 * (the manager, `withBulkhead`) would fail for the same mutants, and take a second for each mutant that survives.
 */
export default defineConfig({
  test: {
    include: [
      "test/{events,fake-timers}.test.ts",
      "test/{bulkhead,call,circuit,common}/**/*.test.ts",
    ],
    // A mutant that hangs is killed with its process.
    globalSetup: ["test/temporary.setup.ts"],
    testTimeout: 5_000,
  },
});
