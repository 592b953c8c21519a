"use strict";
// Charts as inline SVG. All values are set as text or as numbers of a path, because names come from requests.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240, HEIGHT = 44;

function make(tag, cls, ...inside) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  node.append(...inside.filter(one => one !== null && one !== undefined && one !== false));
  return node;
}

function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// An empty chart: a caption with a title and a value, and one path for each class in `series`. `names` is a legend.
function chart(title, series, names = []) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  for (const cls of series) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", cls);
    svg.append(path);
  }
  const legend = names.flatMap((name, place) => [make("span", `k${place + 1}`, " ■ "), name]);
  return make("figure", "", make("figcaption", "", make("span", "", title, ...legend), make("b", "")), svg);
}

// Stacked bars: the first series is at the bottom. A value of null leaves a gap.
function drawBars(figure, rows, value, spoken) {
  const count = rows[0].length, step = WIDTH / count;
  const totals = rows[0].map((_, place) => rows.reduce((sum, row) => sum + (row[place] || 0), 0));
  const top = Math.max(...totals, 0) || 1, base = new Array(count).fill(HEIGHT);
  rows.forEach((row, index) => {
    let path = "";
    row.forEach((number, place) => {
      if (!(number > 0)) return;
      const height = Math.max(1.5, number / top * (HEIGHT - 2));
      base[place] -= height;
      path += `M${(place * step + .4).toFixed(2)} ${base[place].toFixed(2)}h${(step - .8).toFixed(2)}v${height.toFixed(2)}h${(.8 - step).toFixed(2)}z`;
    });
    setAttribute(figure.children[1].childNodes[index], "d", path);
  });
  describe(figure, value, spoken);
}

// Lines, one path each. The upper edge is `top`, or the largest value. A value of null leaves a gap.
function drawLines(figure, rows, top, value, spoken) {
  const edge = top || Math.max(...rows.flat().filter(one => one !== null), 0) || 1;
  rows.forEach((row, index) => {
    const step = WIDTH / Math.max(row.length - 1, 1);
    let path = "", pen = false;
    row.forEach((number, place) => {
      if (number === null) { pen = false; return; }
      const x = (place * step).toFixed(2), y = (HEIGHT - 1 - number / edge * (HEIGHT - 3)).toFixed(2);
      const alone = !pen && (place + 1 === row.length || row[place + 1] === null);  // a short line, which is wide enough to be seen
      path += pen ? `L${x} ${y}` : alone ? `M${Math.max(0, Math.min(x - 2, WIDTH - 4)).toFixed(2)} ${y}h4` : `M${x} ${y}`;
      pen = true;
    });
    setAttribute(figure.children[1].childNodes[index], "d", path);
  });
  describe(figure, value, spoken);
}

function describe(figure, value, spoken) {
  setText(figure.firstChild.lastChild, value);
  setAttribute(figure.children[1], "aria-label", spoken);
}
