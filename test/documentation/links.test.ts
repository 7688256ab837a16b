import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { expect, it } from "vitest";
import { GUIDES, ROOT, readPage } from "./examples.js";

const PAGES = [
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "examples/README.md",
  ...GUIDES,
];

it.each(PAGES)("every relative link of %s leads to a file and a heading", (page) => {
  const broken = linksOf(page).filter((link) => !leadsSomewhere(page, link));
  expect(broken).toEqual([]);
});

it.each(PAGES)("every file that %s names is there", (page) => {
  const named = proseOf(page).matchAll(/`((?:src|test|bench|docs|examples|scripts)\/[\w./-]+)`/g);
  const missing = Array.from(named, ([, path = ""]) => path).filter(
    (path) => path !== "docs/api/" && !existsSync(join(ROOT, path)),
  );
  expect(missing).toEqual([]);
});

it("a link to a missing file or heading is found", () => {
  expect(leadsSomewhere("docs/index.md", "guide/missing.md")).toBe(false);
  expect(leadsSomewhere("docs/index.md", "guide/calls.md#missing")).toBe(false);
  expect(leadsSomewhere("docs/index.md", "guide/calls.md#forms")).toBe(true);
  expect(leadsSomewhere("docs/index.md", "#guide")).toBe(true);
});

/** The targets of links and pictures outside code. */
function linksOf(page: string): string[] {
  const text = proseOf(page);
  const links = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target = ""]) => target);
  return links.filter((target) => !/^[a-z]+:/.test(target));
}

function leadsSomewhere(page: string, link: string): boolean {
  const [path = "", anchor] = link.split("#");
  const file = path === "" ? page : posix.join(page, "..", path);
  if (!existsSync(join(ROOT, file))) return false;
  return anchor === undefined || anchorsOf(file).includes(anchor);
}

/** The ids that GitHub gives to the headings of a page; those that repeat get a number. */
function anchorsOf(page: string): string[] {
  const seen = new Map<string, number>();
  return Array.from(proseOf(page).matchAll(/^#+ (.+)$/gm), ([, title = ""]) => {
    const id = title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, "")
      .replaceAll(" ", "-");
    const count = seen.get(id) ?? 0;
    seen.set(id, count + 1);
    return count === 0 ? id : `${id}-${count}`;
  });
}

/** A page without its blocks of code, in which a `#` begins a comment. */
function proseOf(page: string): string {
  return readPage(page).replaceAll(/^ *```[\s\S]*?^ *```$/gm, "");
}
