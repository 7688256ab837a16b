// What both pictures are drawn with. Each has a ground of its own, so that it can be read on any page, and
// is dark where the reader's system is.

export const WIDTH = 920;

const STYLE = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .small { font-size: 11px; fill: #59636e; }
  .end { text-anchor: end; }
  .middle { text-anchor: middle; }
  text.own { font-weight: 600; fill: #0969da; }
  .value { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; paint-order: stroke; }
  .ground { fill: #ffffff; stroke: #d1d9e0; }
  .grid { stroke: #d1d9e0; }
  .base { stroke: #59636e; stroke-dasharray: 4 3; }
  .dot { fill: #818b98; }
  .dot.own { fill: #0969da; }
  .spread { stroke: #818b98; stroke-width: 3; stroke-linecap: round; opacity: 0.45; }
  .spread.own { stroke: #0969da; }
  .bar { fill: #818b98; }
  .bar.own { fill: #0969da; }
  .curve { fill: none; stroke: #bc4c00; stroke-width: 2; }
  .curve.own { stroke: #0969da; stroke-width: 3; }
  text.other { font-weight: 600; fill: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    text.own { fill: #4493f8; }
    .value { stroke: #0d1117; }
    .ground { fill: #0d1117; stroke: #3d444d; }
    .grid { stroke: #3d444d; }
    .base { stroke: #9198a1; }
    .dot { fill: #9198a1; }
    .dot.own { fill: #4493f8; }
    .spread { stroke: #9198a1; }
    .spread.own { stroke: #4493f8; }
    .bar { fill: #9198a1; }
    .bar.own { fill: #4493f8; }
    .curve { stroke: #f0883e; }
    .curve.own { stroke: #4493f8; }
    text.other { fill: #f0883e; }
  }`;

export function svg({ title, description, height, parts }) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title description">
<title id="title">${escaped(title)}</title>
<desc id="description">${escaped(description)}</desc>
<style>${STYLE}
</style>
<rect class="ground" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>
${text(20, 32, title, "title")}
${parts.flat().join("\n")}
</svg>
`;
}

export function text(x, y, content, classes = "") {
  return `<text x="${round(x)}" y="${round(y)}" class="${classes}">${escaped(content)}</text>`;
}

export function line(x1, y1, x2, y2, classes) {
  const ends = `x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"`;
  return `<line ${ends} class="${classes}"/>`;
}

export function dot(x, y, classes) {
  return `<circle cx="${round(x)}" cy="${round(y)}" r="5" class="${classes}"/>`;
}

export function bar(x, y, width, height, classes) {
  const size = `width="${round(width)}" height="${round(height)}"`;
  return `<rect x="${round(x)}" y="${round(y)}" ${size} class="bar ${classes}"/>`;
}

export function curve(points, classes) {
  const coordinates = points.map(([x, y]) => `${round(x)},${round(y)}`).join(" ");
  return `<polyline points="${coordinates}" class="${classes}"/>`;
}

/** Where and when it was measured. */
export function provenance({ machine, node, date }) {
  return `${machine.cpu}, ${machine.cores} cores, ${machine.os}, Node ${node}, ${date}`;
}

function round(number) {
  return Number(number.toFixed(1));
}

function escaped(content) {
  return String(content).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
