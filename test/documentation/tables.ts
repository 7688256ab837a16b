/** The cells of the first table below a heading of a Markdown page, and of its head if asked for. */
export function tableBelow(markdown: string, heading: string, { head = false } = {}): string[][] {
  const lines = markdown.split("\n");
  const start = lines.indexOf(heading);
  if (start === -1) throw new Error(`There is no heading "${heading}"`);
  const first = lines.findIndex((line, i) => i > start && line.startsWith("|"));
  const rows: string[][] = [];
  for (let i = first; lines[i]?.startsWith("|"); i++) rows.push(cells(lines[i] ?? ""));
  return rows.toSpliced(head ? 1 : 0, head ? 1 : 2);
}

function cells(row: string): string[] {
  return row
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** What stands between backticks. */
export function codeIn(cell: string): string[] {
  return Array.from(cell.matchAll(/`([^`]+)`/g), ([, code = ""]) => code);
}

/** The bold beginnings of the paragraphs below a heading, up to the next one. */
export function titlesBelow(markdown: string, heading: string): string[] {
  const start = markdown.indexOf(`\n${heading}\n`);
  if (start === -1) throw new Error(`There is no heading "${heading}"`);
  const [section = ""] = markdown.slice(start + heading.length + 2).split("\n## ");
  return Array.from(section.matchAll(/^\*\*(.+?)\*\*/gm), ([, title = ""]) => title);
}
