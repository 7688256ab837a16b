import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text", "html"],
      thresholds: { lines: 90, branches: 90, functions: 90, statements: 90 },
    },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/package/**"],
          globalSetup: ["test/integration/services.setup.ts"],
          // Generous: a busy machine is no failure. What has a limit of its own asserts it.
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: "package",
          include: ["test/package/**/*.test.ts"],
          globalSetup: ["test/package/pack.setup.mjs", "test/integration/services.setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // After the unit tests, not beside them: it keeps the processor busy.
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
