import type { Announcements } from "./announcements.js";
import type { PostgresStorageError } from "./errors.js";

/** Where a storage receives the changes of other processes from. */
export interface ChangeSource {
  /** Starts, or starts again after {@link stop}. */
  start(): void;
  stop(): void;
  /** A query elsewhere got no answer: finds out whether changes still arrive. */
  check(): void;
  /** Notices of permits have subscribers now, or none any more. */
  updatePermits(): void;
}

/** What a {@link ChangeSource} calls. */
export interface ChangeHooks {
  /** Called when the listening connection is made: ensures that the table exists. */
  readonly prepare: () => Promise<void>;
  /** The name of a circuit and its row as JSON. */
  readonly onChange: (name: string, row: unknown) => void;
  /**
   * The schema of the table, once it is known: the channel belongs to the whole database. The listening connection
   * cannot look it up, because it does not run what a pool runs on each new connection.
   */
  readonly schema: () => string | undefined;
  /** Reads every circuit in use again, by a query. Resolves to whether it could read all. */
  readonly reread: () => Promise<boolean>;
  /** No changes arrive. Called after each failed try; the source goes on trying. */
  readonly onInterrupted: (error: unknown) => void;
  /** The connection that {@link ChangeSource.check} checked is lost, too; the source goes on trying. */
  readonly onConnectionLost?: () => void;
  /** The source works, and missed changes have been read. Ends what `onInterrupted` reported. */
  readonly onSynced: () => void;
  /**
   * Sends a notice by a query, not on the listening connection. Without it, whether notices arrive on the
   * listening connection is not tested.
   */
  readonly notify?: (channel: string, payload: string) => Promise<void>;
  /** Compares what `reread` read with the notices. Without it, a lost trigger is not noticed. */
  readonly announcements?: Announcements;
  /**
   * No notices arrive, although the listening connection works: reads replace them. Without this hook,
   * `onInterrupted` is called.
   */
  readonly onUndelivered?: (error: PostgresStorageError) => void;
  /** Receives the notices of permits, while it has subscribers. Without it, nothing listens for them. */
  readonly permits?: { readonly isEmpty: boolean; receive(payload: string | undefined): void };
  /** Notices arrive. Ends what `onUndelivered` reported. */
  readonly onDelivered?: () => void;
}
