const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const REST_OF_SCREEN = "\u001b[J";
const DEFAULT_ROWS = 24;

/**
 * The terminal's other screen, drawn over in place. The one that was there comes back when it is left,
 * and while the program is stopped by Ctrl-Z.
 */
export class Screen {
  readonly #linesFor: (rows: number) => string[];

  /** @param linesFor what is to be seen on a terminal of so many rows */
  constructor(linesFor: (rows: number) => string[]) {
    this.#linesFor = linesFor;
    process.stdout.on("resize", this.draw);
    process.on("SIGTSTP", this.#pause);
    process.on("SIGCONT", this.#resume);
    process.stdout.write(ENTER);
  }

  readonly draw = (): void => {
    const lines = this.#linesFor(process.stdout.rows || DEFAULT_ROWS);
    // In one write, so that nothing flickers.
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
    // Now that the terminal is as it was: this signal cannot be caught.
    process.kill(process.pid, "SIGSTOP");
  };

  readonly #resume = (): void => {
    process.stdout.write(ENTER);
    this.draw();
  };
}
