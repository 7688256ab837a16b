// Where the demo is watched: a picture redrawn in place in a terminal, lines anywhere else.
import { styleText } from "node:util";

/**
 * How something that goes on looks. What goes on is its own affair, but it knows how many seconds have
 * passed.
 * @template {{ elapsed: number }} Run
 * @typedef {object} View
 * @property {(run: Run, paint: import("./drawing.mjs").Paint) => string[]} picture
 * @property {(run: Run) => string[]} logHeader
 * @property {(run: Run) => string} logLine
 * @property {number} logEverySeconds
 */

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
const CLEAR_TO_END_OF_LINE = "\x1b[K";
const up = (lines) => (lines > 0 ? `\x1b[${lines}A\r` : "");

/** @param {NodeJS.WriteStream} stream */
export function openScreen(stream) {
  // A line that wraps, or a picture that scrolls, cannot be redrawn in place.
  const fits = stream.isTTY && stream.columns >= 80 && stream.rows >= 12;
  return fits && process.env.TERM !== "dumb" ? new Terminal(stream) : new Log(stream);
}

class Terminal {
  #stream;
  #paint;
  #drawn = 0;

  constructor(stream) {
    this.#stream = stream;
    // hasColors() knows NO_COLOR and what the terminal can show.
    this.#paint = stream.hasColors()
      ? (format, text) => styleText(format, text, { validateStream: false })
      : (_format, text) => text;
    stream.write(HIDE_CURSOR);
  }

  /**
   * @template {{ elapsed: number }} Run
   * @param {Run} run
   * @param {View<Run>} view
   */
  show(run, view) {
    const lines = view.picture(run, this.#paint);
    const text = lines.map((line) => `${line}${CLEAR_TO_END_OF_LINE}\n`).join("");
    // One write, so that no half-drawn picture is seen.
    this.#stream.write(up(this.#drawn) + text);
    this.#drawn = lines.length;
  }

  /** Leaves the last picture of a run standing. */
  finish(run, view) {
    this.show(run, view);
    this.#drawn = 0;
  }

  /** @param {string[]} lines */
  print(lines) {
    this.#stream.write(`${lines.join("\n")}\n`);
  }

  close() {
    this.#stream.write(SHOW_CURSOR);
  }
}

class Log {
  #stream;
  #lines = 0;

  constructor(stream) {
    this.#stream = stream;
  }

  /** Called as often as a picture is drawn; writes more rarely. */
  show(run, view) {
    if (run.elapsed < this.#lines * view.logEverySeconds) return;
    if (this.#lines === 0) this.print(view.logHeader(run));
    this.#lines = Math.floor(run.elapsed / view.logEverySeconds) + 1;
    this.print([view.logLine(run)]);
  }

  finish() {
    this.print([""]);
    this.#lines = 0;
  }

  print(lines) {
    this.#stream.write(`${lines.join("\n")}\n`);
  }

  close() {}
}
