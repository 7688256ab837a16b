import { defineConfig } from "vitest/config";

/** The tests that can fail for a mutant of a call or of a circuit, and need neither a server nor the built package. */
export default defineConfig({
  test: {
    include: ["test/*.test.ts", "test/{bulkhead,call,circuit,common}/**/*.test.ts"],
    // Checks types only: it compiles programs, and runs nothing of what is mutated.
    exclude: ["test/types.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
