const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const REST_OF_SCREEN = "\u001b[J";
const DEFAULT_ROWS = 24;

/**
 * The terminal's alternate screen, redrawn in place. The normal one is restored by `leave`, and while Ctrl-Z suspends
 * the program.
 */
export class Screen {
  readonly #linesFor: (rows: number) => string[];

  /** @param linesFor the lines for a terminal of that many rows */
  constructor(linesFor: (rows: number) => string[]) {
    this.#linesFor = linesFor;
    process.stdout.on("resize", this.draw);
    process.on("SIGTSTP", this.#pause);
    process.on("SIGCONT", this.#resume);
    process.stdout.write(ENTER);
  }

  readonly draw = (): void => {
    const lines = this.#linesFor(process.stdout.rows || DEFAULT_ROWS);
    // In one write: otherwise the screen flickers.
    process.stdout.write(HOME + REST_OF_SCREEN + lines.join("\r\n"));
  };

  leave(): void {
    process.stdout.off("resize", this.draw);
    process.off("SIGTSTP", this.#pause);
    process.off("SIGCONT", this.#resume);
    process.stdout.write(LEAVE);
  }

  readonly #pause = (): void => {
    process.stdout.write(LEAVE);
    // After restoring the terminal: this signal cannot be caught.
    process.kill(process.pid, "SIGSTOP");
  };

  readonly #resume = (): void => {
    process.stdout.write(ENTER);
    this.draw();
  };
}
