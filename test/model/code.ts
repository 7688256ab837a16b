import { Circuit } from "../../src/circuit/circuit.js";
import { SharedCircuit } from "../../src/circuit/shared-circuit.js";
import { newSharedCircuitState } from "../../src/circuit/shared-circuit-state.js";
import { resolveConfig } from "../../src/resolve-config.js";
import { applyChange } from "../../src/storage/apply-change.js";
import type { CircuitCode } from "./circuit-process.js";

/** The code as it is. */
export const realCode: CircuitCode = {
  Circuit,
  SharedCircuit,
  newSharedCircuitState,
  resolveConfig,
  applyChange,
};
