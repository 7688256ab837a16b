export { Bulkhead } from "./bulkhead.js";
export type { CallTrace } from "./call/tracing.js";
export type {
  Classification,
  ClassifiedFailure,
  ErrorSettlement,
  ResultSettlement,
  Settlement,
} from "./classification.js";
export type {
  BulkheadConfig,
  BulkheadConfigChanges,
  BulkheadOptions,
  FleetFallback,
  GrowingIsolation,
  HealthCheckContext,
  ResolvedBulkheadConfig,
  ShutdownOptions,
} from "./config.js";
export {
  BulkheadCircuitOpenError,
  type BulkheadCircuitOpenErrorOptions,
  BulkheadError,
  type BulkheadErrorOptions,
  BulkheadFullError,
  type BulkheadFullErrorOptions,
  BulkheadIsolationError,
  BulkheadShutdownError,
  BulkheadTimeoutError,
  type BulkheadTimeoutErrorOptions,
} from "./errors.js";
export type {
  AbandonedEvent,
  BulkheadEvents,
  ConfiguredEvent,
  FailureEvent,
  HealthCheckEvent,
  IsolatedEvent,
  ReclaimedEvent,
  RejectedEvent,
  ShutdownEvent,
  StateChangeEvent,
  SuccessEvent,
  TimeoutEvent,
} from "./events.js";
export { httpStatus } from "./http-status.js";
export { BulkheadManager, type BulkheadManagerEvents } from "./manager.js";
export type { Permit } from "./permit.js";
export type {
  ExecutionContext,
  ExecutionFailure,
  ExecutionReport,
  ExecutionResult,
  ExecutionSuccess,
  RunOptions,
} from "./result.js";
export { BulkheadState } from "./state.js";
export type {
  BulkheadStats,
  FailureOutcome,
  FleetStats,
  LastFailure,
  RejectionReason,
} from "./stats.js";
export { type ApplyChangeOptions, applyChange } from "./storage/apply-change.js";
export { applyLease, EMPTY_POOL } from "./storage/apply-lease.js";
export type {
  CircuitCause,
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitSettings,
  CircuitSettingsChange,
  CircuitStatus,
  CircuitStorage,
  CircuitSubscriber,
  CircuitVote,
} from "./storage/circuit-storage.js";
export { type CreateStorageOptions, createStorage } from "./storage/create-storage.js";
export { InMemoryStorage, type InMemoryStorageOptions } from "./storage/memory.js";
export type {
  PermitDecision,
  PermitGrant,
  PermitNotice,
  PermitPool,
  PermitRequest,
  PermitShare,
} from "./storage/permit-lease.js";
export type { PostgresStorageOptions } from "./storage/postgres/options.js";
export { PostgresStorage } from "./storage/postgres/postgres-storage.js";
export { type BulkheadWrapper, type WithBulkheadOptions, withBulkhead } from "./with-bulkhead.js";
