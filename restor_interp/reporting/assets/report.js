// The script of every report page: sorting, filtering, plots drawn when they come near, dark mode.
// What a reader does with them follows in cursor.js, explore.js and print.js.
// It sets text only through textContent, and reads data only from the page's own file of JSON.
"use strict";

document.documentElement.classList.add("script");

// ---- dark or light

const root = document.documentElement;

function remembered() {
  try { return localStorage.getItem("restor-interp-theme"); } catch { return null; }
}

function remember(theme) {
  try { localStorage.setItem("restor-interp-theme", theme); } catch { /* file:// may refuse */ }
}

function isDark() {
  const chosen = root.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

if (["dark", "light"].includes(remembered())) root.dataset.theme = remembered();

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remember(root.dataset.theme);
  recolour();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

// ---- tables

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function sortValue(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.sort === undefined) return cell.textContent.trim();
  return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
}

function compare(first, second) {
  const numbers = typeof first === "number" && typeof second === "number";
  return numbers ? first - second : collator.compare(String(first), String(second));
}

function sortTable(table, column, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  const direction = down ? -1 : 1;
  for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, place) => ({ row, place, value: sortValue(row, column) }));
  rows.sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
    return direction * compare(a.value, b.value) || a.place - b.place;
  });
  for (const { row } of rows) row.classList.remove("block");
  body.append(...rows.map(({ row }) => row));
  say(`Sorted by ${header.textContent.trim()}, ${down ? "descending" : "ascending"}`);
}

function say(text) {
  document.getElementById("said").textContent = text;
}

for (const table of document.querySelectorAll(".table table")) {
  const headers = table.tHead.rows[table.tHead.rows.length - 1].cells;
  [...headers].forEach((header, column) => {
    header.setAttribute("aria-sort", "none");
    header.querySelector("button").addEventListener("click", () => sortTable(table, column, header));
  });
}

for (const box of document.querySelectorAll(".table")) {
  const input = box.querySelector("input[type=search]");
  if (!input) continue;
  const rows = [...box.querySelector("tbody").rows].map((row) => ({ row, text: row.textContent.toLowerCase() }));
  const output = box.querySelector("output");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    output.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  });
}

// ---- plots: each is drawn when it comes within 400 px of the window

const drawn = new Map();
let plotly = null;

function loadScript(address, what) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${what} is missing beside this page`));
    document.head.append(script);
  });
}

function loadPlotly() {
  // A page that is one file has both written into it.
  plotly ??= (window.Plotly ? Promise.resolve() : loadScript(document.body.dataset.plotly, "the plotting library"))
    .then(() => window.Plotly);
  return plotly;
}

// The panels of every plot: base64 of compressed JSON, see html.py.
let plots = null;
let panels = null; // the same, once they are there

async function loadPlots() {
  if (!window.packedPlots) await loadScript(document.body.dataset.plots, "the data of its plots");
  const bytes = Uint8Array.from(atob(window.packedPlots), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  panels = await new Response(stream).json();
  return panels;
}

async function panelsOf(figure) {
  plots ??= loadPlots();
  return (await plots)[Number(figure.id.slice(1)) - 1];
}

function dataOf(canvas) {
  const figure = canvas.closest("figure");
  return panels[Number(figure.id.slice(1)) - 1][[...figure.querySelectorAll(".canvas")].indexOf(canvas)];
}

function labelPoints(figure) {
  const { x, y } = figure.labels;
  for (const trace of figure.data) {
    if (trace.type === "heatmap") trace.customdata = trace.z.map((row, i) => row.map((_, j) => [x[j], y[i]]));
    else if (y && !x) trace.customdata = trace.y.map((place) => y[place]);
    else trace.customdata = trace.x.map((place) => (x && trace.type === "scatter" ? x[place] : `${place}`));
  }
  if (figure.likeliest) labelLikeliest(figure);
}

function themeOf() {
  const style = getComputedStyle(root);
  const [ink, grid, soft] = ["--ink", "--grid", "--soft"].map((name) => style.getPropertyValue(name).trim());
  const axis = (name) => ({
    [`${name}.gridcolor`]: grid, [`${name}.zerolinecolor`]: soft, [`${name}.linecolor`]: soft,
  });
  return { "font.color": ink, ...axis("xaxis"), ...axis("yaxis") };
}

// A finger that scrolls past a plot must not zoom it, and has no room for buttons.
const hovers = matchMedia("(hover: hover)").matches;

const CONFIG = {
  responsive: true,
  displaylogo: false,
  displayModeBar: hovers ? "hover" : false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  toImageButtonOptions: { format: "svg" },
};

// One after the other, so that the first one is there before work on the second begins.
let queue = Promise.resolve();

function drawPlot(canvas) {
  queue = queue.then(() => drawNext(canvas));
  return queue;
}

async function drawNext(canvas) {
  if (drawn.has(canvas)) return;
  drawn.set(canvas, null);
  try {
    const [library] = await Promise.all([loadPlotly(), panelsOf(canvas.closest("figure"))]);
    if (!canvas.dataset.drawn) await drawNow(canvas, library);
  } catch (error) {
    canvas.textContent = `This plot could not be drawn: ${error.message}. Its numbers are below.`;
  }
}

// Without waiting for anything, as a page that is printed must.
function drawNow(canvas, library) {
  const figure = dataOf(canvas);
  labelPoints(figure);
  figure.layout.dragmode = hovers ? "zoom" : false;
  for (const [path, colour] of Object.entries(themeOf())) {
    const [part, key] = path.split(".");
    figure.layout[part][key] = colour;
  }
  canvas.textContent = "";
  const ready = library.newPlot(canvas, figure.data, figure.layout, CONFIG);
  drawn.set(canvas, library);
  canvas.setAttribute("role", "group"); // an image may hold no buttons, and plotly's bar is some
  if (figure.data[0]?.type === "heatmap") followCells(canvas, figure);
  else followPoints(canvas, figure);
  if (canvas.closest("figure").querySelector('[data-line][aria-pressed="false"]')) showLines(canvas);
  canvas.dataset.drawn = "yes";
  return ready;
}

function recolour() {
  for (const [canvas, library] of drawn) if (library) library.relayout(canvas, themeOf());
}

const canvases = [...document.querySelectorAll(".canvas")];
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      watcher.unobserve(entry.target);
      drawPlot(entry.target);
    }
  }
}, { rootMargin: "400px" });
canvases.forEach((canvas) => watcher.observe(canvas));

// ---- the legend of a line plot: a button per line hides and shows it in every panel

function showLines(canvas) {
  const library = drawn.get(canvas);
  const buttons = [...canvas.closest("figure").querySelectorAll("[data-line]")];
  const hidden = new Set(buttons.filter((b) => b.getAttribute("aria-pressed") === "false").map((b) => b.dataset.line));
  const places = canvas.data.map((trace, place) => (trace.legendgroup ? place : -1)).filter((place) => place >= 0);
  if (!library || !buttons.length || !places.length) return;
  library.restyle(canvas, { visible: places.map((place) => !hidden.has(canvas.data[place].legendgroup)) }, places);
}

for (const button of document.querySelectorAll("[data-line]")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true");
    for (const canvas of button.closest("figure").querySelectorAll(".canvas[data-drawn]")) showLines(canvas);
  });
}

// ---- the numbers of a plot as tables, made when someone asks for them

function element(tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return made;
}

function written(value) {
  return value === null || value === undefined ? "×" : `${value}`.replace("-", "−");
}

function gridTable(corner, heads, rows) {
  const box = element("div");
  box.className = "scroll";
  box.tabIndex = 0;
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const text of [corner, ...heads]) {
    const cell = element(text ? "th" : "td", text);
    if (text) cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [name, ...values] of rows) {
    const row = body.insertRow();
    const first = element("th", name);
    first.scope = "row";
    row.append(first);
    for (const value of values) row.insertCell().textContent = written(value);
  }
  box.append(table);
  return box;
}

function tableOf({ data, layout, names, likeliest }) {
  const heat = data.find((trace) => trace.type === "heatmap");
  if (heat) {
    const told = (value, row, column) => (likeliest ? likeliestText(likeliest, likeliest.at[row][column]) || value : value);
    const rows = heat.z.map((values, row) => [names.y[row], ...values.map((value, column) => told(value, row, column))]);
    return gridTable("", names.x, rows.reverse());
  }
  const lines = data.filter((trace) => trace.meta !== "band");
  if (lines[0]?.mode === "markers" && !names.y) return pointsTable(lines, layout);
  const across = names.y ? "y" : "x";
  const places = [...new Set(lines.flatMap((trace) => trace[across]))].sort((a, b) => a - b);
  const value = across === "x" ? "y" : "x";
  const columns = lines.map((trace) => new Map(trace[across].map((place, i) => [place, trace[value][i]])));
  const rows = places.map((place) => [
    names[across]?.[place] ?? `${place}`,
    ...columns.map((column) => (column.has(place) ? column.get(place) : "")),
    ...(likeliest ? [likeliestText(likeliest, likeliest.at[place])] : []),
  ]);
  return gridTable("", [...lines.map(nameOf), ...(likeliest ? [likeliest.introduction] : [])], rows);
}

// Points share no places: each has its own row.
function pointsTable(traces, layout) {
  const rows = traces.flatMap((trace) =>
    trace.mode === "markers" ? trace.x.map((x, i) => [nameOf(trace), x, trace.y[i]]) : []);
  return gridTable("", [layout.xaxis.title.text, layout.yaxis.title.text].map(plainName), rows);
}

// The whole name of a line, which its label may have cut.
function nameOf(trace) {
  return plainName(trace.meta?.[0] ?? trace.name);
}

function plainName(escaped) {
  return escaped.replaceAll("<br>", " ").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

for (const details of document.querySelectorAll(".numbers")) {
  details.addEventListener("toggle", async () => {
    if (!details.open || details.dataset.made) return;
    details.dataset.made = "yes";
    const figure = details.closest("figure");
    const panels = await panelsOf(figure);
    [...figure.querySelectorAll(".panel")].forEach((panel, place) => {
      const title = panel.querySelector("h4");
      if (title) details.append(element("h4", title.textContent));
      details.append(tableOf(panels[place]));
    });
  });
}

