import type { CircuitStorage } from "./circuit-storage.js";
import { circuitCases } from "./contract/circuits.js";
import { manualChangeCases } from "./contract/manual-changes.js";
import { openingCases } from "./contract/openings.js";
import { permitCases } from "./contract/permits.js";
import { probeCases } from "./contract/probes.js";
import { settingsCases } from "./contract/settings.js";
import { subscriptionCases } from "./contract/subscriptions.js";
import { newName } from "./contract/trial.js";
import { voteCases } from "./contract/votes.js";

/** The storage under test. */
export interface StorageContractOptions {
  /**
   * Creates a storage. All of them share their circuits, like the storages of several processes. Every case uses
   * new names, and closes its storages.
   */
  create: () => CircuitStorage | Promise<CircuitStorage>;
  /**
   * Seconds of the probe lease of these storages: the cases wait for its end. Short, such as 0.5, but longer than
   * two answers of the storage take.
   */
  probeLeaseSeconds: number;
  /** Seconds that a change may take to reach a subscriber. > 0. @default 5 */
  spreadSeconds?: number | undefined;
  /** Whether notices of permits arrive. @default whether the storage has `subscribeToPermits` */
  permitNotices?: boolean | undefined;
}

/** One rule of {@link CircuitStorage}, as a test case. */
export interface StorageContractCase {
  /** The rule, for the title of a test. */
  readonly name: string;
  /** Rejects when the storage breaks the rule: with an `AssertionError`, or with the storage's error. */
  readonly run: () => Promise<void>;
}

/**
 * Creates the test cases that every {@link CircuitStorage} passes, for any test runner.
 *
 * @example
 * for (const { name, run } of storageContract({ create, probeLeaseSeconds: 0.5 })) test(name, run);
 */
export function storageContract(options: StorageContractOptions): StorageContractCase[] {
  const { create, probeLeaseSeconds, spreadSeconds = 5 } = options;
  return Object.entries(CASES).map(([name, run]) => ({
    name,
    run: async () => {
      const storages: CircuitStorage[] = [];
      const open = async () => {
        const storage = await create();
        storages.push(storage);
        return storage;
      };
      try {
        const storage = await open();
        const { permitNotices: hasPermitNotices = storage.subscribeToPermits !== undefined } =
          options;
        const seconds = { probeLeaseSeconds, spreadSeconds };
        await run({ storage, open, name: newName(), ...seconds, hasPermitNotices });
      } finally {
        await Promise.all(storages.map((storage) => storage.close()));
      }
    },
  }));
}

const CASES = {
  ...circuitCases,
  ...openingCases,
  ...probeCases,
  ...manualChangeCases,
  ...settingsCases,
  ...voteCases,
  ...subscriptionCases,
  ...permitCases,
};
