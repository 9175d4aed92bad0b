// A cursor in the plots, with the pointer or the keyboard: one in all maps of a figure, one in each
// plot of lines or bars. What it stands on is said to those who do not see it.

// ---- maps

let pointed = null;

function mapsBeside(canvas) {
  const all = [...canvas.closest("figure").querySelectorAll(".canvas[data-drawn]")];
  return all.filter((one) => one.data[0].type === "heatmap");
}

function pointAt(canvas, row, column) {
  drawn.get(canvas).Fx.hover(canvas, { xval: column, yval: row });
}

function leave(canvas) {
  for (const one of mapsBeside(canvas)) drawn.get(one).Fx.unhover(one);
}

function toldOfCell(canvas, row, column) {
  const { likeliest } = dataOf(canvas);
  return (likeliest && likeliestText(likeliest, likeliest.at[row][column])) || written(canvas.data[0].z[row][column]);
}

function followCells(canvas, { data, names }) {
  canvas.addEventListener("pointerenter", () => { pointed = canvas; });
  canvas.addEventListener("pointerleave", () => { pointed = null; leave(canvas); });
  // Only where the pointer is: a map that follows reports the cell again, some time later.
  canvas.on("plotly_hover", ({ points }) => {
    const cell = points.find((point) => point.curveNumber === 0);
    if (pointed !== canvas || !cell) return;
    for (const one of mapsBeside(canvas)) if (one !== canvas) pointAt(one, ...cell.pointNumber);
  });

  const last = [names.y.length - 1, names.x.length - 1];
  let cell = null;
  const steps = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.tabIndex = 0;
  canvas.addEventListener("blur", () => leave(canvas));
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave(canvas);
    const step = steps[event.key];
    if (!step || event.target !== canvas || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    cell = cell ? cell.map((at, axis) => Math.min(Math.max(at + step[axis], 0), last[axis])) : [0, 0];
    const [row, column] = cell;
    const maps = mapsBeside(canvas);
    for (const one of maps) pointAt(one, row, column);
    const values = maps.map((one) => `${one.getAttribute("aria-label")} ${toldOfCell(one, row, column)}`);
    const [rows, columns] = canvas.data[0].meta.map(plainName);
    say(`${rows} ${names.y[row]}, ${columns} ${names.x[column]}: ${values.join("; ")}`);
  });
}

// ---- lines and bars

// Along the axis with the places, and across to the next line or the next part of a bar.
const ALONG = { x: ["ArrowLeft", "ArrowRight"], y: ["ArrowUp", "ArrowDown"] };

function nearest(places, place) {
  const gaps = places.map((one) => Math.abs(one - place));
  return gaps.indexOf(Math.min(...gaps));
}

function within(at, count) {
  return Math.min(Math.max(at, 0), count - 1);
}

function followPoints(canvas, { data, names, layout, likeliest }) {
  const axis = names.y && !names.x ? "y" : "x";
  const value = axis === "x" ? "y" : "x";
  const [back, ahead] = ALONG[axis];
  const [up, down] = ALONG[value];
  const all = data.map((trace, curve) => ({ trace, curve }))
    .filter(({ trace }) => trace.meta !== "band" && trace[axis].length);
  let line = null;
  let point = 0;
  const unhover = () => drawn.get(canvas).Fx.unhover(canvas);

  canvas.tabIndex = 0;
  canvas.addEventListener("blur", unhover);
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") unhover();
    if (![back, ahead, up, down].includes(event.key) || event.target !== canvas) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = all.filter(({ curve }) => canvas.data[curve].visible !== false);
    if (!shown.length) return;
    event.preventDefault();
    const at = shown.indexOf(line);
    if (at < 0) [line, point] = [shown[0], 0];
    else if (event.key === back || event.key === ahead) {
      point = within(point + (event.key === ahead ? 1 : -1), line.trace[axis].length);
    } else {
      const next = shown[within(at + (event.key === down ? 1 : -1), shown.length)];
      point = nearest(next.trace[axis], line.trace[axis][point]);
      line = next;
    }
    const { trace, curve } = line;
    const place = trace[axis][point];
    drawn.get(canvas).Fx.hover(canvas, [{ curveNumber: curve, pointNumber: point }]);
    const title = plainName(layout[`${axis}axis`].title?.text ?? "");
    const where = names[axis]?.[place] ?? `${title} ${place}`;
    const more = likeliest && likeliestText(likeliest, likeliest.at[place]);
    say(`${nameOf(trace)}, ${where}: ${written(trace[value][point])}${more ? `; ${likeliest.introduction} ${more}` : ""}`);
  });
}
