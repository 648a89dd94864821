// What the graph shows at the moment: boxes, reshards and edges, with folds and scans open or closed.
const unfolded = new Set(), closedScans = new Set();
let showConstants = false;

const scanOfInput = new Map(); // a region's input -> the scan that holds it
for (const node of plan.nodes) for (const name of node.body?.inputs ?? []) scanOfInput.set(name, node.node);
const levelOf = (name) => producer(name)?.inside ?? scanOfInput.get(name) ?? null;

const pen = document.createElement("canvas").getContext("2d");
const BOLD = "600 12px system-ui, sans-serif", PLAIN = "11px system-ui, sans-serif", WIDEST = 200;

function cut(text, font, room = WIDEST) {
  pen.font = font;
  if (pen.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}

function widthOf(text, font) {
  pen.font = font;
  return pen.measureText(text).width;
}

const isHidden = (name) => isConstant(producer(name)) && !showConstants;

function boxOfNode(key) {
  const fold = boxOf.get(key);
  return fold !== undefined && !unfolded.has(fold) ? fold : `node ${key}`;
}

function boxOfValue(name) {
  const node = producer(name);
  return node ? boxOfNode(node.node) : `input ${name}`;
}

// The boxes of one level: the program itself (null), or the body of a scan.
function sceneOf(level) {
  const items = new Map(), edges = new Map();
  const inputs = level === null ? plan.values.filter((v) => v.node === null && levelOf(v.value) === null) : nodes.get(level).body.inputs.map((n) => values.get(n));
  for (const v of inputs) if (uses.get(v.value).length) items.set(`input ${v.value}`, inputBox(v));
  for (const node of plan.nodes) {
    if (node.inside !== level || (isConstant(node) && !showConstants)) continue;
    const id = boxOfNode(node.node);
    if (!items.has(id)) items.set(id, id.startsWith("fold ") ? foldBox(id) : nodeBox(node));
  }
  for (const edge of plan.edges) addEdge(level, edge, items, edges);
  for (const item of items.values()) item.part ??= partOf(item, items, edges);
  return { items: [...items.values()], edges: [...edges.values()] };
}

function addEdge(level, edge, items, edges) {
  const output = edge.node === null;
  if ((output ? levelOf(edge.value) : nodes.get(edge.to).inside) !== level || isHidden(edge.value)) return;
  const target = output ? edge.to : boxOfNode(edge.to);
  if (output) items.set(target, outputBox(edge));
  let from = boxOfValue(edge.value);
  if (from === target) return;
  const path = edge.moves.filter((m) => m.kind !== "halo"), halos = edge.moves.filter((m) => m.kind === "halo");
  for (const [id, moves] of [[`move ${edge.value}|${edge.layout}`, path], [`halo ${edge.value}|${edge.to}`, halos]]) {
    if (!moves.length) continue;
    if (!items.has(id)) items.set(id, moveBox(id, edge, moves));
    join(edges, from, id, edge, moves);
    from = id;
  }
  join(edges, from, target, edge, edge.moves);
}

function join(edges, from, to, edge, moves) {
  const key = `${from}\0${to}`;
  const size = Math.max(0, ...moves.map((m) => m.bytes));
  const found = edges.get(key) ?? { from, to, bytes: 0, moves: false, numbers: [] };
  found.bytes = Math.max(found.bytes, size);
  found.moves ||= moves.length > 0;
  found.numbers.push(edge.number);
  edges.set(key, found);
}

// Inputs and reshards stand in the column of what uses them.
function partOf(item, items, edges) {
  const next = [...edges.values()].filter((e) => e.from === item.id).map((e) => items.get(e.to));
  const parts = next.map((n) => n.part ?? partOf(n, items, edges));
  return parts.length && parts.every((p) => p === "gradient") ? "gradient" : "forward";
}

function box(id, kind, subject, lines, extra) {
  const [title, sub] = [cut(lines[0], BOLD), cut(lines[1], PLAIN)];
  const w = Math.max(64, Math.ceil(Math.max(widthOf(title, BOLD) + (extra.count ? 34 : 0), widthOf(sub, PLAIN))) + 18);
  return { id, kind, subject, title, sub, w, h: 42, seconds: 0, ...extra };
}

function inputBox(v) {
  const sub = scanOfInput.has(v.value) ? `from ${nameOf(outerOf(v.value))}` : shortType(v.type);
  return box(`input ${v.value}`, "input", { kind: "value", id: v.value }, [v.name, sub], { layout: v.layout });
}

// The value that a region's input stands for.
function outerOf(name) {
  const scan = nodes.get(scanOfInput.get(name));
  return scan.operands[scan.body.inputs.indexOf(name)];
}

function nodeBox(node) {
  const v = values.get(node.results[0]);
  const subject = { kind: "value", id: v.value }, extra = { layout: v.layout, part: node.part, seconds: nodeSeconds(node) };
  const item = box(`node ${node.node}`, "node", subject, v.named ? [v.name, `${node.op}  ${shortType(v.type)}`] : [node.op, shortType(v.type)], extra);
  if (boxOf.has(node.node)) item.close = boxOf.get(node.node);
  return node.body ? scanBox(node, item) : item;
}

function scanBox(node, item) {
  item.kind = "scan";
  item.title = `${node.op}, ${node.body.trips.toLocaleString("en")} trips`;
  if (closedScans.has(node.node)) return { ...item, w: Math.max(item.w, widthOf(item.title, BOLD) + 52) };
  const inner = drawingOf(sceneOf(node.node));
  return { ...item, inner, w: Math.max(inner.width + 24, widthOf(item.title, BOLD) + 60), h: inner.height + 46 };
}

function foldBox(id) {
  const members = plan.folds[Number(id.slice(5))].map((key) => nodes.get(key));
  const results = members.flatMap((n) => n.results).map((name) => values.get(name));
  const chosen = results.filter((v) => v.named), last = results.at(-1);
  const title = chosen.length ? chosen.map((v) => v.name).join(", ") : members[0].source || members.map((n) => n.op).join(", ");
  const total = members.reduce((sum, n) => sum + nodeSeconds(n), 0);
  const subject = { kind: "fold", id: Number(id.slice(5)) };
  return box(id, "fold", subject, [title, shortType((chosen[0] ?? last).type)], {
    layout: last.layout, part: members[0].part, seconds: total, count: members.length,
  });
}

function outputBox(edge) {
  const name = edge.to.slice(7), v = values.get(edge.value);
  return box(edge.to, "output", { kind: "output", id: name }, [name, shortType(v.type)], {
    layout: edge.layout, part: producer(edge.value)?.part ?? "forward",
  });
}

function moveBox(id, edge, moves) {
  const lines = moves.map((m) => cut(m.move.replace("(", " ").replace(")", "").replace("->", "→"), PLAIN));
  const total = moves.reduce((sum, m) => sum + moveSeconds(m), 0), size = moves.reduce((sum, m) => sum + m.bytes * m.trips, 0);
  const free = moves.every((m) => m.kind === "slice");
  const price = free ? "free" : `${bytes(size)}, ${seconds(total)}`;
  const w = Math.ceil(Math.max(...[...lines, price].map((t) => widthOf(t, PLAIN)))) + 18;
  return { id, kind: "move", subject: { kind: "move", id: edge.number }, lines, price, free, w, h: 14 * (lines.length + 1) + 8, seconds: total };
}

// A scene with places: the forward pass and the gradient side by side, each from top to bottom.
function drawingOf(scene) {
  const parts = ["forward", "gradient"].map((p) => scene.items.filter((i) => i.part === p)).filter((p) => p.length);
  const side = new Map(scene.items.map((i) => [i.id, i.part]));
  const drawing = { boxes: [], edges: [], columns: [], width: 0, height: 0 };
  for (const items of parts) {
    const own = scene.edges.filter((e) => side.get(e.from) === items[0].part && side.get(e.to) === items[0].part);
    const found = arrange(items, own.map((e) => [e.from, e.to]));
    const left = drawing.width + (drawing.width ? COLUMN_GAP : 0), top = parts.length > 1 ? 30 : 0;
    for (const item of items) drawing.boxes.push({ ...item, x: found.at.get(item.id).x + left, y: found.at.get(item.id).y + top });
    own.forEach((e, i) => drawing.edges.push({ ...e, points: found.paths[i].map((p) => ({ x: p.x + left, y: p.y + top })) }));
    drawing.columns.push({ part: items[0].part, x: left, width: found.width });
    drawing.width = left + found.width;
    drawing.height = Math.max(drawing.height, found.height + top);
  }
  const at = new Map(drawing.boxes.map((b) => [b.id, b]));
  for (const e of scene.edges) if (side.get(e.from) !== side.get(e.to)) drawing.edges.push({ ...e, crossing: [at.get(e.from), at.get(e.to)] });
  return drawing;
}
