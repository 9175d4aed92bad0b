// The most likely next tokens at the places of a plot: in cells, hover texts, tables and files.
// At a place stand numbers of tokens and their probabilities in turns, see figures/likeliest.py.

const LEAST = 0.001;

function likeliestPairs({ texts }, coded) {
  const found = [];
  for (let i = 0; i < (coded?.length ?? 0); i += 2) {
    found.push({ number: coded[i], text: texts[coded[i]], share: coded[i + 1] });
  }
  return found;
}

// As a hover text shows them: escaped, a line each.
function likeliestLines(likeliest, coded) {
  const lines = likeliestPairs(likeliest, coded).map(({ number, text, share }) => {
    const less = share < LEAST ? "&lt; " : "";
    return `${likeliest.cut[number]?.[1] ?? text} <b>${less}${Math.max(share, LEAST)}</b>`;
  });
  return lines.length ? [likeliest.introduction, ...lines].join("<br>") : "";
}

// As a table, a file and a voice have them: whole, in one line.
function likeliestText(likeliest, coded) {
  return likeliestPairs(likeliest, coded)
    .map(({ text, share }) => `${plainName(text)} ${share < LEAST ? "< " : ""}${Math.max(share, LEAST)}`).join(", ");
}

function labelLikeliest({ data, likeliest }) {
  const { texts, cut, at } = likeliest;
  for (const trace of data) {
    if (trace.type === "heatmap") {
      trace.text = at.map((row) => row.map(([first]) => (first === undefined ? "" : cut[first]?.[0] ?? texts[first])));
      trace.customdata.forEach((row, i) => row.forEach((cell, j) => cell.push(likeliestLines(likeliest, at[i][j]))));
    } else if (trace.hovertemplate?.includes("customdata[1]")) {
      trace.customdata = trace.x.map((place, i) => [trace.customdata[i], likeliestLines(likeliest, at[place])]);
    }
  }
}

// The columns that a saved file has beside the value, and what stands in them at a place.
function likeliestHeads(panels) {
  const most = Math.max(0, ...panels.map(({ likeliest }) => likeliest?.most ?? 0));
  return Array.from({ length: most }, (_, k) => [`token ${k + 1}`, `probability ${k + 1}`]).flat();
}

function likeliestCells(likeliest, coded) {
  return likeliestPairs(likeliest, coded).flatMap(({ text, share }) => [plainName(text), share]);
}
