import { CircuitRules } from "../../src/circuit/circuit.js";
import { CircuitSync } from "../../src/circuit/shared-circuit.js";
import { newCircuitSyncState } from "../../src/circuit/shared-circuit-state.js";
import { resolveConfig } from "../../src/config.js";
import type { CircuitCode } from "./circuit-process.js";

/** The code as it is. */
export const realCode: CircuitCode = {
  CircuitRules,
  CircuitSync,
  newCircuitSyncState,
  resolveConfig,
};
