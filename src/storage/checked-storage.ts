import { hostname } from "node:os";
import { withTimeout } from "../common/with-timeout.js";
import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitStorage,
  CircuitSubscriber,
} from "./circuit-storage.js";
import { validateRecord } from "./validate-record.js";

/** One circuit of a storage. Every promise settles within the storage's time limit. */
export interface CircuitSource {
  readonly queryTimeoutSeconds: number;
  readonly probeLeaseSeconds: number;
  /** Of this process. */
  readonly host: string;
  load(): PromiseLike<CircuitRecord>;
  change(change: CircuitChange): PromiseLike<CircuitChangeResult>;
  subscribe(subscriber: CircuitSubscriber, onInvalidRecord: (error: unknown) => void): () => void;
}

/**
 * One circuit of a storage, which may be a custom one: every answer has a time limit, and every record is
 * validated.
 */
export class CheckedStorage implements CircuitSource {
  readonly #storage: CircuitStorage;
  readonly #name: string;

  constructor(storage: CircuitStorage, name: string) {
    this.#storage = storage;
    this.#name = name;
  }

  /** Seconds that an answer may take. */
  get queryTimeoutSeconds(): number {
    return this.#storage.queryTimeoutSeconds ?? 1;
  }

  /** Seconds of the lease that a process probes under on its own while the storage does not answer. */
  get probeLeaseSeconds(): number {
    return this.#storage.probeLeaseSeconds ?? 30;
  }

  get host(): string {
    return this.#storage.host ?? hostname();
  }

  async getState(): Promise<CircuitRecord | null> {
    const record = await this.#limit(this.#storage.getState(this.#name));
    return record === null ? null : validateRecord(record);
  }

  async load(): Promise<CircuitRecord> {
    return validateRecord(await this.#limit(this.#storage.load(this.#name)));
  }

  async change(change: CircuitChange): Promise<CircuitChangeResult> {
    const result = await this.#limit(this.#storage.change(this.#name, change));
    validateRecord(result.record);
    return result;
  }

  /** @param onInvalidRecord called instead of `onRecord` for a malformed record */
  subscribe(
    { onRecord, onError }: CircuitSubscriber,
    onInvalidRecord: (error: unknown) => void,
  ): () => void {
    return this.#storage.subscribe(this.#name, {
      onRecord: (record) => {
        try {
          validateRecord(record);
        } catch (error) {
          onInvalidRecord(error);
          return;
        }
        onRecord(record);
      },
      onError,
    });
  }

  #limit<T>(answer: Promise<T>): Promise<T> {
    const seconds = this.queryTimeoutSeconds;
    const error = () => noAnswerError(seconds);
    return withTimeout(answer, { limitMs: seconds * 1000, error, holdsProcess: true });
  }
}

export function noAnswerError(seconds: number): Error {
  return new Error(`The circuit storage did not answer within ${seconds} s`);
}
