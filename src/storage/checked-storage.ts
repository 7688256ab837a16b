import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitStorage,
  CircuitSubscriber,
} from "./circuit-storage.js";
import { checkRecord } from "./validate-record.js";

/** One circuit of a storage. Every promise settles within the storage's time limit. */
export interface CircuitSource {
  readonly queryTimeoutSeconds: number;
  readonly probeLeaseSeconds: number;
  load(): PromiseLike<CircuitRecord>;
  change(change: CircuitChange): PromiseLike<CircuitChangeResult>;
  subscribe(subscriber: CircuitSubscriber, onInvalidRecord: (error: unknown) => void): () => void;
}

/**
 * One circuit of a storage, which may be a custom one: every answer is limited in time, and every record is
 * validated.
 */
export class StoredCircuit implements CircuitSource {
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

  /** Seconds of the lease that a process probes under by itself when the storage does not answer. */
  get probeLeaseSeconds(): number {
    return this.#storage.probeLeaseSeconds ?? 30;
  }

  async load(): Promise<CircuitRecord> {
    return checkRecord(await this.#withTimeout(() => this.#storage.load(this.#name)));
  }

  async change(change: CircuitChange): Promise<CircuitChangeResult> {
    const result = await this.#withTimeout(() => this.#storage.change(this.#name, change));
    checkRecord(result.record);
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
          checkRecord(record);
        } catch (error) {
          onInvalidRecord(error);
          return;
        }
        onRecord(record);
      },
      onError,
    });
  }

  /** The answer, or a rejection when it takes longer than the storage's limit. */
  async #withTimeout<T>(ask: () => Promise<T>): Promise<T> {
    const seconds = this.queryTimeoutSeconds;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(noAnswerError(seconds)), seconds * 1000);
    });
    try {
      return await Promise.race([ask(), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

export function noAnswerError(seconds: number): Error {
  return new Error(`The circuit storage did not answer within ${seconds} s`);
}
