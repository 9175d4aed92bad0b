// What a reader does with a page: plots saved as files; two facts beside each other; the view as an
// address.

// ---- plots as files

// A text that a spreadsheet would take for a formula gets a quote before it.
function csvCell(value) {
  if (typeof value === "number") return `${value}`;
  const text = `${value ?? ""}`.replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// A row per cell of a map, or per point of a line, with the ends of its band where it has one.
function csvOf(figure, panels) {
  const titles = [...figure.querySelectorAll(".canvas")].map((one) => one.getAttribute("aria-label"));
  const rows = [];
  let heads = ["panel", "line", "x", "y"];
  const more = likeliestHeads(panels);
  panels.forEach(({ data, names, layout, likeliest }, place) => {
    const name = (axis, at) => names[axis]?.[at] ?? at;
    const tokens = (coded) => (likeliest ? likeliestCells(likeliest, coded) : []);
    for (const trace of data) {
      if (trace.type === "heatmap") {
        heads = ["panel", ...trace.meta.map(plainName), ...more];
        trace.z.forEach((values, row) => values.forEach((value, column) =>
          rows.push([titles[place], name("y", row), name("x", column), value, ...tokens(likeliest?.at[row][column])])));
      } else if (trace.meta !== "band" && trace.name !== undefined) {
        const across = [layout.xaxis, layout.yaxis].map((axis) => plainName(axis.title?.text ?? ""));
        heads = ["panel", "line", across[0] || "x", across[1] || "y", ...more];
        trace.x.forEach((x, i) =>
          rows.push([titles[place], nameOf(trace), name("x", x), name("y", trace.y[i]), ...tokens(likeliest?.at[x])]));
      }
    }
  });
  return [heads, ...rows].map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
}

function fileName(figure) {
  const words = `${document.querySelector("h1").textContent} ${figure.querySelector("h3").textContent}`;
  return words.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 80).toLowerCase() || "plot";
}

function saveText(text, name) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function savePictures(figure) {
  const all = [...figure.querySelectorAll(".canvas")];
  for (const [place, canvas] of all.entries()) {
    await drawPlot(canvas);
    const { width, height } = canvas.getBoundingClientRect();
    const filename = fileName(figure) + (all.length > 1 ? `-${place + 1}` : "");
    await drawn.get(canvas)?.downloadImage(canvas, { format: "svg", filename, width, height });
  }
}

function button(text, act) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

for (const figure of document.querySelectorAll("figure.plot")) {
  const saves = element("div");
  saves.className = "saves";
  saves.append(
    button("Save as CSV", async () => saveText(csvOf(figure, await panelsOf(figure)), `${fileName(figure)}.csv`)),
    button("Save as SVG", () => savePictures(figure)),
  );
  figure.querySelector(".foot").append(saves);
}

// ---- two facts beside each other

const pinned = [];

function putBack(fold) {
  pinned.splice(pinned.indexOf(fold), 1);
  fold.home.replaceWith(fold);
  fold.querySelector(":scope > .pin").setAttribute("aria-pressed", "false");
}

function pin(fold) {
  if (pinned.length === 2) putBack(pinned[0]);
  pinned.push(fold);
  fold.open = true;
  fold.querySelector(":scope > .pin").setAttribute("aria-pressed", "true");
  fold.home = document.createComment("");
  fold.before(fold.home);
}

function arrange() {
  for (const fold of pinned) fold.home.before(fold);
  document.querySelector(".beside")?.remove();
  if (pinned.length === 2) {
    const box = element("div");
    box.className = "beside";
    pinned[0].home.before(box);
    box.append(...pinned);
    box.scrollIntoView({ block: "start" });
  }
  for (const fold of facts) {
    for (const canvas of fold.querySelectorAll(".canvas[data-drawn]")) {
      if (canvas.checkVisibility()) drawn.get(canvas).Plots.resize(canvas);
    }
  }
  say(["No fact is pinned", "One fact is pinned; pin another one", "Two facts beside each other"][pinned.length]);
}

const facts = [...document.querySelectorAll("section > .fold[id]")];
if (facts.length > 1) {
  for (const fold of facts) {
    const made = button("Pin, to compare with another fact", () => {
      if (pinned.includes(fold)) putBack(fold); else pin(fold);
      arrange();
    });
    made.className = "pin";
    made.setAttribute("aria-pressed", "false");
    fold.querySelector("summary").after(made);
  }
}

// ---- the view as an address: #<place>&open=…&pin=…&off=…&sort=…&find=…

const folds = [...document.querySelectorAll(".fold")];
const unfoldedFirst = folds.map((fold) => fold.open);
const switches = [...document.querySelectorAll("[data-line]")];
const sorted = [...document.querySelectorAll(".table thead tr:last-child th")];
const inputs = [...document.querySelectorAll(".table input[type=search]")];

function place() {
  return location.hash.slice(1).split("&")[0];
}

function around(target) {
  const found = [];
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") found.push(one);
  return found;
}

function keepView() {
  const shown = around(document.getElementById(place()));
  const numbers = (list, holds) => list.flatMap((one, at) => (holds(one, at) ? [at] : [])).join(".");
  const view = {
    open: numbers(folds, (fold, at) => fold.open !== unfoldedFirst[at] && !(fold.open && shown.includes(fold))),
    pin: pinned.map((fold) => folds.indexOf(fold)).join("."),
    off: numbers(switches, (one) => one.getAttribute("aria-pressed") === "false"),
    sort: sorted.flatMap((head, at) => ({ ascending: [`${at}`], descending: [`${at}d`] })[head.getAttribute("aria-sort")] ?? []).join("."),
    find: inputs.flatMap((input, at) => (input.value ? [`${at}~${input.value}`] : [])).join("~~"),
  };
  const words = new URLSearchParams(Object.entries(view).filter(([, value]) => value)).toString();
  const fragment = words ? `#${place()}&${words}` : place() && `#${place()}`;
  if (fragment !== location.hash) history.replaceState(null, "", fragment || location.pathname);
}

function takeView() {
  const view = new URLSearchParams(location.hash.split("&").slice(1).join("&"));
  const list = (name) => (view.get(name) ?? "").split(".").filter((at) => /^\d+d?$/.test(at));
  for (const at of list("open")) if (folds[at]) folds[at].open = !unfoldedFirst[at];
  for (const at of list("off")) if (switches[at]?.getAttribute("aria-pressed") === "true") switches[at].click();
  for (const at of list("sort")) {
    const act = sorted[Number.parseInt(at, 10)]?.querySelector("button");
    for (let times = at.endsWith("d") ? 2 : 1; act && times; times -= 1) act.click();
  }
  for (const found of (view.get("find") ?? "").split("~~").filter(Boolean)) {
    const [at, ...text] = found.split("~");
    const input = inputs[Number.parseInt(at, 10)];
    if (!input) continue;
    input.value = text.join("~");
    input.dispatchEvent(new Event("input"));
  }
  const chosen = list("pin").map((at) => folds[at]).filter((fold) => facts.includes(fold) && !pinned.includes(fold));
  if (chosen.length) { chosen.slice(0, 2).forEach(pin); arrange(); }
}

function unfold() {
  const target = place() && document.getElementById(place());
  if (!target) return;
  for (const fold of around(target)) fold.open = true;
  target.scrollIntoView();
}

takeView();
unfold();
addEventListener("hashchange", () => { takeView(); unfold(); keepView(); });
// Folding does not bubble; a click has done its work when the timer comes.
document.addEventListener("toggle", keepView, true);
for (const kind of ["click", "input"]) document.addEventListener(kind, () => setTimeout(keepView));

// ---- keys

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
  if (event.key === "[") document.getElementById("before")?.click();
  if (event.key === "]") document.getElementById("after")?.click();
  if (event.key === "/") {
    const input = document.querySelector("input[type=search]");
    if (input) { event.preventDefault(); input.focus(); }
  }
});
