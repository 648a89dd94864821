// Bytes on one device at each step of the schedule, stacked by what holds them.
const BANDS = 400, SMALLEST = 0.004, KEYS = 8; // the bands drawn at most, the least share of the peak, those in the key
const CHART = { width: Math.max(540, document.getElementById("memory-chart").clientWidth), height: 260, left: 62, right: 10, top: 18, bottom: 24 };
const held = plan.memory.bytes, peakStep = plan.memory.peak_step, samplerBytes = plan.memory.sampler_bytes;
let base = samplerBytes, most = 1; // what is left out below the chart, and the height of the rest
const chartBox = document.getElementById("memory-chart");
const xOf = (step) => CHART.left + ((CHART.width - CHART.left - CHART.right) * step) / held.length;
// Of bytes above the base.
const yOf = (size) => CHART.height - CHART.bottom - ((CHART.height - CHART.top - CHART.bottom) * size) / (most * 1.05);
function heldName(h) {
  const name = titleOf(values.get(h.value));
  return h.kind === "value" ? name : h.kind === "copy" ? `${name} as ${h.layout}` : `${name}, ${h.kind}`;
}

const livesAt = (b, step) => b.life[0] <= step && step <= b.life[1];
// Whatever holds memory: values, copies in other layouts, room to make them, and the sampler's vectors throughout.
const bands = [
  ...plan.memory.held.map((h) => ({ value: h.value, name: heldName(h), layout: h.layout, life: h.life, size: h.bytes })),
];
if (samplerBytes) bands.push({ value: null, name: "the sampler's vectors", layout: null, life: [0, held.length - 1], size: samplerBytes });
let cursorStep = peakStep, cursor, lifeMark;

const holders = (step) => bands.filter((b) => livesAt(b, step)).sort((a, b) => b.size - a.size);
const subjectOf = (b) => (b.value === null ? null : { kind: "value", id: b.value });

function bandPath(lower, upper, [first, last]) {
  let d = `M${xOf(first).toFixed(1)},${yOf(lower[first]).toFixed(1)}`;
  for (let i = first; i <= last; i++) d += stepTo(i, upper[i]);
  for (let i = last; i >= first; i--) d += stepBack(i, lower[i]);
  return `${d}Z`;
}

const stepTo = (i, y) => `L${xOf(i).toFixed(1)},${yOf(y).toFixed(1)}H${xOf(i + 1).toFixed(1)}`;
const stepBack = (i, y) => `L${xOf(i + 1).toFixed(1)},${yOf(y).toFixed(1)}H${xOf(i).toFixed(1)}`;

function drawMemory() {
  const shown = held.map((size) => size - base);
  most = Math.max(...shown, 1);
  const drawn = bands.filter((b) => b.size > SMALLEST * most && (b.value !== null || !base)).sort((a, b) => b.size - a.size).slice(0, BANDS)
    .sort((a, b) => (a.value !== null) - (b.value !== null) || b.life[1] - b.life[0] - (a.life[1] - a.life[0])); // what lives longest at the bottom
  const chart = svg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, class: "chart", tabindex: 0, role: "group", "aria-label": "bytes on one device at each step; left and right move, Enter selects the node" });
  for (const size of ticks(most)) chart.append(
    svg("line", { class: "grid", x1: CHART.left, x2: CHART.width - CHART.right, y1: yOf(size), y2: yOf(size) }),
    svg("text", { class: "small", x: CHART.left - 6, y: yOf(size) + 4, "text-anchor": "end" }, bytes(size)));
  let lower = held.map(() => 0);
  for (const b of drawn) {
    const upper = lower.map((y, step) => y + (livesAt(b, step) ? b.size : 0));
    chart.append(svg("path", { class: `band ${b.layout === null ? "rest" : `L${layoutNumber.get(b.layout)}`}`, d: bandPath(lower, upper, b.life), "data-value": b.value,
      onmouseenter: () => hover(subjectOf(b), "memory"), onmouseleave: () => hover(null, "memory") }, svg("title", {}, `${b.name}: ${bytes(b.size)}`)));
    labelBand(chart, b, lower, upper);
    lower = upper;
  }
  chart.append(svg("path", { class: "band rest", d: bandPath(lower, shown, [0, held.length - 1]) }, svg("title", {}, "what is too small to be drawn")));
  chart.append(svg("path", { class: "outline", d: shown.map((y, i) => `${i ? "L" : "M"}${xOf(i).toFixed(1)},${yOf(y).toFixed(1)}L${xOf(i + 1).toFixed(1)},${yOf(y).toFixed(1)}`).join("") }));
  const px = (xOf(peakStep) + xOf(peakStep + 1)) / 2, right = px < CHART.width / 2;
  chart.append(svg("line", { class: "peak", x1: px, x2: px, y1: CHART.top - 6, y2: CHART.height - CHART.bottom }),
    svg("text", { class: "peak-label", id: "peak-label", x: px + (right ? 5 : -5), y: CHART.top - 7, "text-anchor": right ? "start" : "end" }, `peak ${bytes(held[peakStep])} at step ${peakStep}${base ? ` (${bytes(base)} not drawn)` : ""}`));
  chart.append(svg("text", { class: "small", x: CHART.left, y: CHART.height - 8 }, "inputs"), svg("text", { class: "small", x: CHART.width - CHART.right, y: CHART.height - 8, "text-anchor": "end" }, "outputs"),
    svg("text", { class: "small", x: (CHART.width + CHART.left) / 2, y: CHART.height - 8, "text-anchor": "middle" }, "steps of the schedule →"));
  lifeMark = svg("rect", { class: "life", y: CHART.top, height: CHART.height - CHART.top - CHART.bottom, width: 0 });
  cursor = svg("line", { class: "cursor", y1: CHART.top, y2: CHART.height - CHART.bottom });
  chart.append(lifeMark, cursor);
  const stepAt = (event) => {
    const frame = chart.getBoundingClientRect(), x = ((event.clientX - frame.x) / frame.width) * CHART.width;
    return Math.max(0, Math.min(held.length - 1, Math.floor(((x - CHART.left) / (CHART.width - CHART.left - CHART.right)) * held.length)));
  };
  chart.addEventListener("mousemove", (event) => moveTo(stepAt(event), true));
  chart.addEventListener("mouseleave", () => hover(null, "memory"));
  chart.addEventListener("click", (event) => pick(stepAt(event)));
  chart.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") moveTo(Math.max(0, Math.min(held.length - 1, cursorStep + (event.key === "ArrowRight" ? 1 : -1))), true);
    else if (event.key === "Enter") pick(cursorStep);
    else return;
    event.preventDefault();
  });
  chartBox.replaceChildren(chart, bandKey());
  moveTo(cursorStep, false);
}

// A band's name where it runs level for long enough.
function labelBand(chart, b, lower, upper) {
  let first = Math.floor((b.life[0] + b.life[1]) / 2), last = first;
  const y = lower[first];
  while (first > b.life[0] && lower[first - 1] === y) first--;
  while (last < b.life[1] && lower[last + 1] === y) last++;
  if (xOf(last + 1) - xOf(first) < widthOf(b.name, PLAIN) + 10 || yOf(0) - yOf(b.size) < 12) return;
  chart.append(svg("text", { class: "small band-name", x: (xOf(first) + xOf(last + 1)) / 2, y: (yOf(y) + yOf(upper[first])) / 2 + 4, "text-anchor": "middle" }, b.name));
}

function ticks(top) {
  const raw = top / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  return Array.from({ length: Math.floor((top * 1.05) / step) + 1 }, (_, i) => i * step);
}

// The largest at the peak, as buttons.
function bandKey() {
  const key = (b) => html("button", { type: "button", class: "key", onclick: () => select(subjectOf(b), "memory"),
    onmouseenter: () => hover(subjectOf(b), "memory"), onmouseleave: () => hover(null, "memory") },
    b.layout === null ? html("i", { class: "swatch rest" }) : swatch(b.layout), `${b.name} ${bytes(b.size)}`);
  return html("div", { class: "legend" }, html("span", { class: "caption" }, "at the peak:"), holders(peakStep).slice(0, KEYS).map(key));
}

const nodeAt = (step) => nodes.get(plan.memory.steps[step][1]);

function moveTo(step, tellOthers) {
  cursorStep = step;
  const x = (xOf(step) + xOf(step + 1)) / 2;
  cursor.setAttribute("x1", x);
  cursor.setAttribute("x2", x);
  const [phase] = plan.memory.steps[step], node = nodeAt(step);
  const what = !node ? phase : `${phase === "run" ? "" : `${phase} `}${titleOf(values.get(node.results[0]))}`;
  const largest = holders(step).slice(0, 4).map((b) => `${b.name} ${bytes(b.size)}`).join(", ");
  document.getElementById("memory-step").textContent = `step ${step}, ${what}: ${bytes(held[step])}${largest ? `; the largest: ${largest}` : ""}`;
  if (tellOthers) hover(node ? { kind: "value", id: node.results[0] } : null, "step");
}

function pick(step) {
  const node = nodeAt(step);
  if (node) select({ kind: "value", id: node.results[0] }, "memory");
}

function showLife() {
  const names = valuesOf(state.hover ?? state.select);
  if (!names.length || !lifeMark) return lifeMark?.setAttribute("width", 0);
  const spans = names.map((n) => values.get(n).life);
  const [first, last] = [Math.min(...spans.map((s) => s[0])), Math.max(...spans.map((s) => s[1]))];
  lifeMark.setAttribute("x", xOf(first));
  lifeMark.setAttribute("width", xOf(last + 1) - xOf(first));
  for (const band of chartBox.querySelectorAll(".band[data-value]")) band.classList.toggle("lit", names.includes(band.dataset.value));
}

const samplerBox = document.getElementById("sampler");
document.getElementById("sampler-label").hidden = !samplerBytes;
document.getElementById("sampler-text").textContent = `with the sampler's vectors, ${bytes(samplerBytes)} throughout`;
samplerBox.addEventListener("input", () => {
  base = samplerBox.checked ? 0 : samplerBytes;
  drawMemory();
});

listeners.hover.push(showLife);
listeners.select.push(showLife);
