import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      // The command is tested as it is used: in processes of its own, which this does not see.
      exclude: ["src/cli/**"],
      reporter: ["text", "html"],
      thresholds: { lines: 99, branches: 93, functions: 98, statements: 98 },
    },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/package/**"],
          globalSetup: ["test/temporary.setup.ts", "test/integration/services.setup.ts"],
          // Many wait for processes and servers: there is something to do meanwhile.
          maxWorkers: 3,
          // Generous: a busy machine is no failure. What has a limit of its own asserts it.
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: "package",
          include: ["test/package/**/*.test.ts"],
          globalSetup: [
            "test/temporary.setup.ts",
            "test/package/pack.setup.mjs",
            "test/integration/services.setup.ts",
          ],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // After the unit tests: they keep the processor busy.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
