// A page on paper: every fold open, every plot drawn, as wide as the paper, in light colours. All of
// it is undone when the printing is over.

const folded = [];
let theme;

function fitted(canvas, width) {
  drawn.get(canvas)?.relayout(canvas, width ? { width, autosize: false } : { width: null, autosize: true });
}

addEventListener("beforeprint", () => {
  theme = root.dataset.theme;
  root.dataset.theme = "light";
  root.classList.add("printing");
  folded.push(...document.querySelectorAll(".fold:not([open]), details.long:not([open])"));
  for (const fold of folded) fold.open = true;
  for (const box of document.querySelectorAll(".scroll")) {
    const share = box.clientWidth / box.scrollWidth;
    if (share < 1) box.firstElementChild.style.zoom = share;
  }
  for (const canvas of canvases.filter((one) => one.checkVisibility())) {
    if (canvas.dataset.drawn) fitted(canvas, canvas.clientWidth);
    else if (window.Plotly && panels) drawNow(canvas, window.Plotly);
    else canvas.textContent = "Not drawn: print this page with its own button.";
  }
  recolour();
});

addEventListener("afterprint", () => {
  for (const fold of folded.splice(0)) fold.open = false;
  root.classList.remove("printing");
  if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
  for (const box of document.querySelectorAll(".scroll")) box.firstElementChild.style.zoom = "";
  for (const canvas of canvases) {
    if (canvas.dataset.drawn) fitted(canvas, null);
    else canvas.textContent = "";
  }
  recolour();
});

document.getElementById("print").addEventListener("click", async () => {
  if (canvases.length) {
    say("Drawing every plot for the paper");
    plots ??= loadPlots();
    await Promise.all([loadPlotly(), plots]);
  }
  print();
});
