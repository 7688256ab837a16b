import { expect, it } from "vitest";
import { GUIDES, readPage } from "./examples.js";

const README = readPage("README.md");

it("the README has at most 300 lines", () => {
  expect(README.trimEnd().split("\n").length).toBeLessThanOrEqual(300);
});

it("the README has the two commands for contributors", () => {
  expect(README).toContain("```sh\nnpm ci && npm run demo\n```");
  expect(README).toContain("```sh\nnpm cit\n```");
});

it("the README links to every page of the guide and the reference, and the index to every page", () => {
  const targetsOf = (page: string) =>
    Array.from(readPage(page).matchAll(/\]\(([\w/-]+\.md)/g), ([, target = ""]) => target);
  const fromReadme = targetsOf("README.md");
  const fromIndex = targetsOf("docs/index.md").map((target) => `docs/${target}`);
  for (const page of GUIDES) {
    if (!page.startsWith("docs/internals/"))
      expect([...fromReadme, "docs/index.md"]).toContain(page);
    expect([...fromIndex, "docs/index.md"]).toContain(page);
  }
});
