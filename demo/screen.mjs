// Where the demo is watched: a picture redrawn in place in a terminal, lines anywhere else.
import { styleText } from "node:util";
import { logHeader, logLine, picture } from "./picture.mjs";

/** @typedef {import("./recording.mjs").Recording} Recording */

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

  /** @param {Recording} run */
  show(run) {
    const lines = picture(run, this.#paint);
    const text = lines.map((line) => `${line}${CLEAR_TO_END_OF_LINE}\n`).join("");
    // One write, so that no half-drawn picture is seen.
    this.#stream.write(up(this.#drawn) + text);
    this.#drawn = lines.length;
  }

  /** Leaves the last picture of a run standing. */
  finish(run) {
    this.show(run);
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
  #nextSecond = 0;

  constructor(stream) {
    this.#stream = stream;
  }

  /** Called as often as a picture is drawn; writes once a second. */
  show(run) {
    if (run.elapsed < this.#nextSecond) return;
    if (this.#nextSecond === 0) this.print(logHeader(run));
    this.#nextSecond = Math.floor(run.elapsed) + 1;
    this.print([logLine(run)]);
  }

  finish() {
    this.print([""]);
    this.#nextSecond = 0;
  }

  print(lines) {
    this.#stream.write(`${lines.join("\n")}\n`);
  }

  close() {}
}
