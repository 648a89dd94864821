// The graph as SVG: drawing, zoom, mouse and keyboard.
const COLUMN_GAP = 70, MARGIN = 16;
const canvas = document.getElementById("canvas");
const slowest = Math.max(0, ...plan.nodes.map(nodeSeconds));
const largest = Math.max(1, ...plan.edges.flatMap((e) => e.moves.map((m) => m.bytes)));
let picture, zoom = null, boxes = new Map(), focused = null;

function drawGraph() {
  const drawing = drawingOf(sceneOf(null));
  boxes = new Map();
  const [w, h] = [drawing.width + 2 * MARGIN, drawing.height + 2 * MARGIN];
  picture = svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "group", "aria-label": "graph of the program; arrow keys move between boxes" });
  picture.append(svg("defs", {},
    svg("pattern", { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" })),
    svg("marker", { id: "tip-end", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto", markerUnits: "userSpaceOnUse" },
      svg("path", { d: "M0,1L8,4L0,7z", class: "arrow" }))));
  const layer = svg("g", { transform: `translate(${MARGIN},${MARGIN})` });
  if (drawing.columns.length > 1)
    for (const column of drawing.columns)
      layer.append(
        svg("rect", { class: `column ${column.part}`, x: column.x - 12, y: -8, width: column.width + 24, height: drawing.height + 16, rx: 8 }),
        svg("text", { class: "column-name", x: column.x, y: 10 }, column.part === "forward" ? "log density (forward)" : "gradient (backward)"));
  drawInto(layer, drawing);
  picture.append(layer);
  picture.dataset.width = w;
  picture.dataset.height = h;
  canvas.replaceChildren(picture);
  setZoom(zoom ?? Math.max(0.7, Math.min(1, canvas.clientWidth / w)));
  focusable(boxes.get(focused) ? focused : boxes.keys().next().value);
  highlight();
}

function drawInto(layer, drawing) {
  const lines = svg("g", {}), marks = svg("g", {});
  layer.append(lines, marks);
  for (const edge of drawing.edges) lines.append(drawEdge(edge));
  for (const b of drawing.boxes) marks.append(drawBox(b));
  for (const edge of drawing.edges) {
    const line = lines.children[drawing.edges.indexOf(edge)];
    boxes.get(edge.from).lines.push(line);
    boxes.get(edge.to).lines.push(line);
    boxes.get(edge.from).next.push(edge.to);
    boxes.get(edge.to).before.push(edge.from);
  }
}

function drawEdge(edge) {
  const width = edge.moves && edge.bytes ? 1.5 + 6 * Math.sqrt(edge.bytes / largest) : 1.1;
  const kind = ["edge", edge.moves && "moves", edge.crossing && "crossing"].filter(Boolean).join(" ");
  const d = edge.crossing ? crossingPath(...edge.crossing) : curve(edge.points);
  return svg("path", { class: kind, d, "stroke-width": width.toFixed(1), "marker-end": "url(#tip-end)" });
}

function curve(points) {
  let d = `M${at(points[0])}`;
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]], bend = (b.y - a.y) * 0.5;
    if (b.y - a.y < 0.5 && Math.abs(b.x - a.x) < 0.5) continue;
    d += a.x === b.x ? `L${at(b)}` : `C${at({ x: a.x, y: a.y + bend })} ${at({ x: b.x, y: b.y - bend })} ${at(b)}`;
  }
  return d;
}

const at = (p) => `${p.x.toFixed(1)},${p.y.toFixed(1)}`;

// From the side of a box in one column to the side of a box in the other.
function crossingPath(from, to) {
  const right = from.x < to.x ? 1 : -1;
  const a = { x: from.x + (right * from.w) / 2, y: from.y }, b = { x: to.x - (right * to.w) / 2, y: to.y };
  return `M${at(a)}C${at({ x: a.x + 70 * right, y: a.y })} ${at({ x: b.x - 70 * right, y: b.y })} ${at(b)}`;
}

function drawBox(b) {
  const [x, y] = [b.x - b.w / 2, b.y - b.h / 2];
  const group = svg("g", {
    class: `box ${b.kind} ${b.layout === undefined ? "" : `L${layoutNumber.get(b.layout)}`}${b.free ? " free" : ""}`,
    transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`, role: "button", tabindex: -1, "aria-label": spoken(b),
    onclick: (event) => { event.stopPropagation(); chosen(b); },
    ondblclick: (event) => { event.stopPropagation(); toggle(b); },
    onmouseenter: (event) => { hover(b.subject, "graph"); tip(event, describe(b)); },
    onmouseleave: () => { hover(null, "graph"); tip(null); },
    onfocus: () => focusable(b.id),
  });
  boxes.set(b.id, { group, item: b, lines: [], next: [], before: [] });
  const round = { input: 21, output: 21, move: 9 }[b.kind] ?? 5;
  if (b.kind === "fold") group.append(svg("rect", { class: "behind", x: 3, y: 3, width: b.w, height: b.h, rx: round }));
  group.append(svg("rect", { class: "face", width: b.w, height: b.h, rx: round }));
  if (b.layout?.includes(";")) group.append(svg("rect", { class: "over", width: b.w, height: b.h, rx: round, fill: "url(#hatch)" }));
  if (b.kind === "move") {
    b.lines.forEach((line, i) => group.append(svg("text", { class: "small", x: b.w / 2, y: 16 + 14 * i, "text-anchor": "middle" }, line)));
    group.append(svg("text", { class: "price", x: b.w / 2, y: 16 + 14 * b.lines.length, "text-anchor": "middle" }, b.price));
    return group;
  }
  const middle = b.kind === "scan" && b.inner ? 10 : b.count ? 9 : b.w / 2, anchor = middle === b.w / 2 ? "middle" : "start";
  group.append(svg("text", { class: "title", x: middle, y: 18, "text-anchor": anchor }, b.title));
  if (!b.inner) group.append(svg("text", { class: "small", x: middle, y: 33, "text-anchor": anchor }, b.sub));
  if (b.seconds && slowest && !b.inner) group.append(svg("rect", { class: "cost", x: 4, y: b.h - 4, height: 2.5, width: Math.max(1, (b.w - 8) * Math.min(1, b.seconds / slowest)), rx: 1 }));
  if (b.count || b.kind === "scan" || b.close !== undefined) group.append(handle(b));
  if (b.inner) {
    const inside = svg("g", { transform: `translate(${(b.w - b.inner.width) / 2},34)` });
    drawInto(inside, b.inner);
    group.append(inside);
  }
  return group;
}

// The corner that opens and closes a fold or a scan.
function handle(b) {
  const text = b.count ? `+${b.count}` : b.kind === "scan" && !b.inner ? "+" : "−";
  const w = Math.max(18, widthOf(text, PLAIN) + 8);
  return svg("g", { class: "handle", transform: `translate(${b.w - w - 3},4)`, onclick: (event) => { event.stopPropagation(); toggle(b); } },
    svg("title", {}, b.count ? `unfold ${b.count} nodes` : "fold"), svg("rect", { width: w, height: 15, rx: 4 }),
    svg("text", { class: "small", x: w / 2, y: 11.5, "text-anchor": "middle" }, text));
}

function toggle(b) {
  if (b.count) unfolded.add(b.id);
  else if (b.close !== undefined) unfolded.delete(b.close);
  else if (b.kind === "scan") closedScans[b.inner ? "add" : "delete"](b.subject.id && producer(b.subject.id).node);
  else return;
  const inside = canvas.contains(document.activeElement);
  const target = b.count ? `node ${plan.folds[b.subject.id][0]}` : b.close ?? b.id;
  drawGraph();
  (inside ? focusBox : focusable)(boxes.has(target) ? target : focused);
}

function chosen(b) {
  focusBox(b.id, { preventScroll: true });
  select(b.subject, "graph");
}

const spoken = (b) => (b.kind === "move" ? `${b.lines.join(", ")}, ${b.price}` : `${b.title}, ${b.sub}, ${b.layout}${b.count ? `, ${b.count} nodes folded` : ""}`);

function describe(b) {
  if (b.kind === "move") return [`${nameOf(plan.edges[b.subject.id].value)}: ${b.lines.join(", ")}`, b.price];
  const cost = b.seconds ? `, ${seconds(b.seconds)}` : "";
  return [b.title, `${b.sub}: ${b.layout}${cost}`];
}

// Keeps the point at (x, y) of the window where it is.
function setZoom(z, x = null, y = null) {
  const frame = canvas.getBoundingClientRect(), before = zoom ?? z;
  const [dx, dy] = [(x ?? frame.x + frame.width / 2) - frame.x, (y ?? frame.y) - frame.y];
  const [left, top] = [canvas.scrollLeft + dx, canvas.scrollTop + dy];
  zoom = Math.max(0.15, Math.min(2.5, z));
  picture.setAttribute("width", (picture.dataset.width * zoom).toFixed(0));
  picture.setAttribute("height", (picture.dataset.height * zoom).toFixed(0));
  canvas.scrollLeft = (left * zoom) / before - dx;
  canvas.scrollTop = (top * zoom) / before - dy;
}

// One box at a time takes part in the tab order; arrows go from box to box.
function focusable(id) {
  boxes.get(focused)?.group.setAttribute("tabindex", -1);
  focused = id;
  boxes.get(id)?.group.setAttribute("tabindex", 0);
}

function focusBox(id, options) {
  focusable(id);
  boxes.get(id)?.group.focus(options);
}

function neighbour(key) {
  const here = boxes.get(focused);
  const centre = (b) => b.group.getBoundingClientRect();
  const from = centre(here);
  if (key === "ArrowDown" || key === "ArrowUp") {
    const near = (key === "ArrowDown" ? here.next : here.before).map((id) => boxes.get(id));
    return near.sort((a, b) => Math.abs(centre(a).x - from.x) - Math.abs(centre(b).x - from.x))[0];
  }
  const side = key === "ArrowRight" ? 1 : -1;
  const beside = [...boxes.values()].filter((b) => side * (centre(b).x - from.x) > 1 && !b.item.inner);
  const distance = (b) => Math.abs(centre(b).x - from.x) + 4 * Math.abs(centre(b).y - from.y);
  return beside.sort((a, b) => distance(a) - distance(b))[0];
}

canvas.addEventListener("keydown", (event) => {
  if (!boxes.has(focused) || event.ctrlKey || event.metaKey || event.altKey) return;
  const here = boxes.get(focused).item;
  if (event.key.startsWith("Arrow")) {
    const next = neighbour(event.key);
    if (next) focusBox(next.item.id);
  } else if (event.key === "Enter") select(here.subject, "graph");
  else if (event.key === " ") toggle(here);
  else if (event.key === "+") setZoom(zoom * 1.2);
  else if (event.key === "-") setZoom(zoom / 1.2);
  else if (event.key === "0") fitGraph();
  else return;
  event.preventDefault();
});
canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  setZoom(zoom * Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
}, { passive: false });

// Dragging the paper moves it; a click on it takes the selection back.
let dragged = null;
canvas.addEventListener("pointerdown", (event) => {
  if (event.button || event.pointerType !== "mouse" || event.target.closest(".box")) return;
  dragged = { x: event.clientX + canvas.scrollLeft, y: event.clientY + canvas.scrollTop, far: false };
});
window.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const [left, top] = [dragged.x - event.clientX, dragged.y - event.clientY];
  dragged.far ||= Math.abs(left - canvas.scrollLeft) + Math.abs(top - canvas.scrollTop) > 4;
  canvas.classList.toggle("dragged", dragged.far);
  if (dragged.far) canvas.scrollTo(left, top);
});
window.addEventListener("pointerup", () => {
  if (dragged && !dragged.far) select(null, "graph");
  dragged = null;
  canvas.classList.remove("dragged");
});

const fitGraph = () => setZoom((canvas.clientWidth - 4) / picture.dataset.width);

function boxesOf(subject) {
  if (!subject) return [];
  if (subject.kind === "fold" && boxes.has(`fold ${subject.id}`)) return [`fold ${subject.id}`];
  if (subject.kind === "output") return [`output ${subject.id}`];
  if (subject.kind === "move") {
    const edge = plan.edges[subject.id];
    return [`move ${edge.value}|${edge.layout}`, `halo ${edge.value}|${edge.to}`].filter((id) => boxes.has(id)).slice(0, 1);
  }
  return valuesOf(subject).map(boxOfValue).filter((id) => boxes.has(id));
}

function highlight() {
  for (const { group, lines } of boxes.values()) {
    group.classList.remove("selected", "over");
    for (const line of lines) line.classList.remove("lit");
  }
  for (const what of ["select", "hover"])
    for (const id of boxesOf(state[what])) {
      boxes.get(id).group.classList.add(what === "select" ? "selected" : "over");
      for (const line of boxes.get(id).lines) line.classList.add("lit");
    }
}

listeners.hover.push(highlight);
listeners.select.push((subject, from) => {
  highlight();
  const [id] = boxesOf(subject);
  if (id === undefined || from === "graph") return;
  const [frame, target] = [canvas.getBoundingClientRect(), boxes.get(id).group.getBoundingClientRect()];
  canvas.scrollBy({ left: target.x + target.width / 2 - frame.x - frame.width / 2, top: target.y + target.height / 2 - frame.y - frame.height / 2 });
});
