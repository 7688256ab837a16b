import type { PermitGrant, PermitNotice, PermitRequest } from "../permit-lease.js";
import { PermitSubscribers } from "../permit-subscribers.js";
import type { Row } from "./database.js";
import { isDataError } from "./errors.js";
import { LEASE } from "./permits-schema.js";

export interface PostgresPermitsOptions {
  readonly query: (statement: string, values: unknown[]) => Promise<Row[]>;
  readonly namespace: string;
  readonly lockTimeout: string;
  /** Where the queries find the tables, once it is known: the channel of the notices belongs to the whole database. */
  readonly schema: () => string | undefined;
}

/** A call of {@link PostgresPermits.lease} that waits for its query. */
interface Call {
  readonly requests: readonly PermitRequest[];
  readonly resolve: (grants: readonly PermitGrant[]) => void;
  readonly reject: (error: unknown) => void;
}

/** The permits in Postgres: requests and notices. */
export class PostgresPermits {
  readonly #options: PostgresPermitsOptions;
  readonly #subscribers = new PermitSubscribers();
  /** Those of this turn of the event loop. */
  #calls: Call[] = [];

  constructor(options: PostgresPermitsOptions) {
    this.#options = options;
  }

  /** Whether the notices have no subscriber. */
  get isEmpty(): boolean {
    return this.#subscribers.isEmpty;
  }

  lease(requests: readonly PermitRequest[]): Promise<readonly PermitGrant[]> {
    return new Promise((resolve, reject) => {
      this.#calls.push({ requests, resolve, reject });
      if (this.#calls.length > 1) return;
      setImmediate(() => {
        const calls = this.#calls;
        this.#calls = [];
        void this.#decide(calls);
      });
    });
  }

  /** Returns what ends it, which returns whether it had not ended before. */
  subscribe(name: string, onNotice: (notice: PermitNotice) => void): () => boolean {
    return this.#subscribers.add(name, onNotice);
  }

  clear(): void {
    this.#subscribers.clear();
  }

  /** A notice arrived. Any role may send one, so every field may be missing or forged. */
  receive(payload: string | undefined): void {
    const fields = parse(payload);
    const { namespace, schema } = this.#options;
    if (fields["namespace"] !== namespace || fields["schema"] !== (schema() ?? fields["schema"])) {
      return;
    }
    const { name, fair, lastTurn, gives } = fields;
    if (typeof name !== "string" || typeof gives !== "boolean") return;
    if (!isCount(fair) || typeof lastTurn !== "number" || !Number.isSafeInteger(lastTurn)) return;
    this.#subscribers.emit(name, { fair, lastTurn, gives });
  }

  /** Decides all requests by one query. */
  async #decide(calls: readonly Call[]): Promise<void> {
    const { query, namespace, lockTimeout } = this.#options;
    const requests = calls.flatMap((call) => call.requests);
    try {
      const rows = await query(LEASE, [namespace, JSON.stringify(requests), lockTimeout]);
      const grants = toGrants(rows[0]?.[0], requests.length);
      let start = 0;
      for (const { requests, resolve } of calls) {
        resolve(grants.slice(start, start + requests.length));
        start += requests.length;
      }
    } catch (error) {
      if (calls.length > 1 && isDataError(error)) {
        // One has a name that the database cannot store: the others must not fail with it.
        await Promise.all(calls.map((call) => this.#decide([call])));
        return;
      }
      for (const { reject } of calls) reject(error);
    }
  }
}

function parse(json: string | null | undefined): { readonly [field: string]: unknown } {
  try {
    return { ...JSON.parse(json ?? "") };
  } catch {
    return {};
  }
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** @throws {TypeError} when they are malformed */
function toGrants(json: string | null | undefined, count: number): PermitGrant[] {
  const grants: unknown = JSON.parse(json ?? "null");
  if (!Array.isArray(grants) || grants.length !== count) throw malformed(json);
  return grants.map((each: unknown) => {
    const grant: { readonly [field: string]: unknown } = { ...Object(each) };
    const { permits, fair, limit, processes, isContended, turn } = grant;
    if (!isCount(permits) || !isCount(fair) || !isCount(limit) || !isCount(processes)) {
      throw malformed(json);
    }
    return {
      permits,
      fair,
      limit,
      processes,
      isContended: isContended === true,
      turn: Number(turn),
    };
  });
}

function malformed(json: string | null | undefined): TypeError {
  return new TypeError(`The database returned malformed permits: ${String(json).slice(0, 200)}`);
}
