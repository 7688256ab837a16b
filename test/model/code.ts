import { Circuit } from "../../src/circuit/circuit.js";
import { SharedCircuit } from "../../src/circuit/shared-circuit.js";
import { newSharedCircuitState } from "../../src/circuit/shared-circuit-state.js";
import { newPermitsState, Permits } from "../../src/fleet/permits.js";
import { resolveConfig } from "../../src/resolve-config.js";
import { applyChange } from "../../src/storage/apply-change.js";
import { applyLease } from "../../src/storage/apply-lease.js";
import type { CircuitCode } from "./circuit-process.js";
import type { FleetCode } from "./fleet-world.js";

/** The code as it is. */
export const realCode: CircuitCode = {
  Circuit,
  SharedCircuit,
  newSharedCircuitState,
  resolveConfig,
  applyChange,
};

export const realFleetCode: FleetCode = { applyLease, Permits, newPermitsState };
