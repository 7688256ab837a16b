import type { Announcements } from "./announcements.js";
import type { PostgresStorageError } from "./errors.js";

/** How a storage learns of changes that other processes make. */
export interface ChangeSource {
  /** Begins. Called again after `stop`, it begins anew. */
  start(): void;
  stop(): void;
  /** A query elsewhere got no answer: finds out whether changes still arrive. */
  check(): void;
}

/** What a {@link ChangeSource} needs, and what it reports. */
export interface ChangeHooks {
  /** Called when the listening connection is made: ensures that the table exists. */
  readonly prepare: () => Promise<void>;
  /** The name of a circuit and its row as JSON. */
  readonly onChange: (name: string, row: unknown) => void;
  /**
   * The schema of the table, once it is known: the channel is that of the whole database. The listening
   * connection cannot look it up, because it does not run what a pool runs on each of its connections.
   */
  readonly schema: () => string | undefined;
  /** Reads every circuit in use again, by a query. Resolves to whether it could read all. */
  readonly reread: () => Promise<boolean>;
  /** Changes do not arrive at the moment. Called after each failed try; it goes on trying. */
  readonly onTrouble: (error: unknown) => void;
  /** The connection that {@link ChangeSource.check} asked about is lost, too; it goes on trying. */
  readonly onSilence?: () => void;
  /** The source works (again), and what was missed has been read. Ends what `onTrouble` reported. */
  readonly onHearing: () => void;
  /**
   * Sends a notice by a query, not on the listening connection. Without it, whether notices arrive on the
   * listening connection is not tested.
   */
  readonly notify?: (channel: string, payload: string) => Promise<void>;
  /** Compares what `reread` read with the notices. Without it, a lost trigger is not noticed. */
  readonly announcements?: Announcements;
  /**
   * No notices arrive, although the listening connection works: reads replace them. Without this hook,
   * `onTrouble` is called.
   */
  readonly onUndelivered?: (error: PostgresStorageError) => void;
  /** Notices arrive. Ends what `onUndelivered` reported. */
  readonly onDelivered?: () => void;
}
