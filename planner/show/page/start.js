// Puts the page together.
function drawLegend() {
  const count = new Map();
  for (const v of plan.values) if (!isConstant(producer(v.value))) count.set(v.layout, (count.get(v.layout) ?? 0) + 1);
  const known = plan.legend.filter((l) => count.has(l.layout));
  document.getElementById("legend").append(...known.map((l) => html("span", { class: "key" }, swatch(l.layout), l.layout, html("small", {}, ` ${count.get(l.layout)}`))));
}

const on = (id, what, action) => document.getElementById(id).addEventListener(what, action);
on("zoom-in", "click", () => setZoom(zoom * 1.2));
on("zoom-out", "click", () => setZoom(zoom / 1.2));
on("zoom-fit", "click", () => fitGraph());
on("open-all", "click", () => {
  for (const id of boxOf.values()) unfolded.add(id);
  closedScans.clear();
  drawGraph();
});
on("close-all", "click", () => {
  unfolded.clear();
  drawGraph();
});
on("constants", "input", (event) => {
  showConstants = event.target.checked;
  drawGraph();
});

drawLegend();
drawGraph();
drawMemory();
drawCosts();
drawValues();
select(null, "start");
document.documentElement.dataset.ready = "true";
