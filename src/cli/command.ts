/** An invalid command line: exit status 2, and a pointer to the help. */
export class UsageError extends Error {}

/** The exit status of a program that Ctrl-C ended, like a shell's. */
export const INTERRUPTED = 130;

/** A subcommand of `bulkman`. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What `--help` prints. */
  readonly help: string;
  /** @returns the exit status */
  readonly run: (args: string[]) => Promise<number>;
}
