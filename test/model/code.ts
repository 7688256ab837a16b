import { CircuitRules } from "../../src/circuit-rules.js";
import { CircuitSync } from "../../src/circuit-sync.js";
import { newCircuitSyncState } from "../../src/circuit-sync-state.js";
import { resolveConfig } from "../../src/config.js";
import type { CircuitCode } from "./circuit-process.js";

/** The code as it is. */
export const realCode: CircuitCode = {
  CircuitRules,
  CircuitSync,
  newCircuitSyncState,
  resolveConfig,
};
