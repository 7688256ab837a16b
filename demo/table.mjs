/** Rows of a first column to the left and others to the right. */
export function makeTable(widths) {
  return {
    row: (title, ...values) => {
      const cells = values.map((value, index) => String(value).padStart(widths[index + 1]));
      return title.padEnd(widths[0]) + cells.join("");
    },
    rule: "─".repeat(widths.reduce((sum, width) => sum + width)),
  };
}

/** @param {number | undefined} milliseconds */
export function duration(milliseconds) {
  if (milliseconds === undefined) return "never";
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(2)} s`;
  return `${milliseconds.toFixed(milliseconds < 9.95 ? 1 : 0)} ms`;
}
