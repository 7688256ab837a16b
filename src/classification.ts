/** How the function of a call settled: with a value, or with an error. */
export type Settlement = ResultSettlement | ErrorSettlement;

/** The function returned a value, or its promise resolved. */
export interface ResultSettlement {
  /** The value. */
  // biome-ignore lint/suspicious/noExplicitAny: values are whatever the functions have
  readonly result: any;
  /** Absent. */
  readonly error?: undefined;
}

/** The function threw, or its promise rejected, or the call timed out. */
export interface ErrorSettlement {
  /** What was thrown. */
  // biome-ignore lint/suspicious/noExplicitAny: errors are whatever the functions have
  readonly error: any;
  /** Absent. */
  readonly result?: undefined;
}

/**
 * What a settled call says of the dependency:
 * - `"success"`: it works
 * - `"failure"`: it failed; `retryAfterSeconds` (≥ 0, an hour at most) opens the circuit at once for that long
 * - `"ignore"`: nothing; it neither ends a run of failures nor counts in a rate, and a probe's place is free again
 */
export type Classification = "success" | "failure" | "ignore" | ClassifiedFailure;

/** A failure whose server said when to come back. */
export interface ClassifiedFailure {
  /** It failed. */
  readonly outcome: "failure";
  /** Seconds that the circuit is to stay open. ≥ 0, an hour at most; 0 means a failure like any other. */
  readonly retryAfterSeconds?: number | undefined;
}
