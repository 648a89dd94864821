// The plan as data, what follows from it, and small words and elements that every part of the page uses.
const plan = JSON.parse(document.getElementById("plan-data").textContent);
const values = new Map(plan.values.map((v) => [v.value, v]));
const nodes = new Map(plan.nodes.map((n) => [n.node, n]));
const layoutNumber = new Map(plan.legend.map((l, i) => [l.layout, i]));
const isConstant = (node) => node !== undefined && /^constant( |$)/.test(node.op);
const producer = (name) => nodes.get(values.get(name).node);

const uses = new Map(plan.values.map((v) => [v.value, []]));
plan.edges.forEach((edge, number) => {
  edge.number = number;
  uses.get(edge.value).push(edge);
});

const boxOf = new Map(); // node key -> the fold that it belongs to
plan.folds.forEach((members, i) => members.forEach((key) => boxOf.set(key, `fold ${i}`)));

const nodeSeconds = (node) => (node.seconds ?? 0) * node.trips;
const moveSeconds = (move) => (move.seconds ?? 0) * move.trips;
const isPaid = (edge, move) => edge.paid || move.kind === "halo";
const moved = (edge) => edge.moves.filter((m) => isPaid(edge, m)).reduce((sum, m) => sum + m.bytes * m.trips, 0);

function threeDigits(x) {
  return String(Number(x.toPrecision(3)));
}

function seconds(x) {
  if (x === null || x === undefined) return "not known";
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["us", 1e-6]])
    if (Math.abs(x) >= size) return `${threeDigits(x / size)} ${unit}`;
  return x ? `${threeDigits(x * 1e9)} ns` : "0 s";
}

function bytes(x) {
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])
    if (x >= size) return `${threeDigits(x / size)} ${unit}`;
  return `${Math.round(x)} B`;
}

const percent = (part, whole) => (whole > 0 ? `${threeDigits((100 * part) / whole)} %` : "");
const times = (n) => (n > 1 ? `, ${n.toLocaleString("en")} times` : "");
const shortType = (text) => text.replace(/=\d+/g, "");
const nameOf = (name) => values.get(name)?.name ?? name;
// A name that a person chose says enough; a number needs its op.
const titleOf = (v) => (v.named || !nodes.has(v.node) ? v.name : `${v.name} ${nodes.get(v.node).op}`);

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== ""));
  return element;
}

const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function swatch(layout) {
  return html("i", { class: `swatch L${layoutNumber.get(layout)}${layout.includes(";") ? " partial" : ""}` });
}

function layoutTag(layout) {
  return html("span", { class: "layout" }, swatch(layout), layout);
}

// What is selected and what the mouse is over: {kind: "value" | "fold" | "move" | "output", id}. Parts of the page listen.
const listeners = { select: [], hover: [] };
const state = { select: null, hover: null };
const sameSubject = (a, b) => a?.kind === b?.kind && a?.id === b?.id;

function tell(what, subject, from) {
  if (what === "hover" && sameSubject(state.hover, subject)) return;
  state[what] = subject;
  for (const listener of listeners[what]) listener(subject, from);
}

const select = (subject, from) => tell("select", subject, from);
const hover = (subject, from) => tell("hover", subject, from);

// The values that a subject is about.
function valuesOf(subject) {
  if (!subject) return [];
  if (subject.kind === "fold") return plan.folds[subject.id].flatMap((key) => nodes.get(key).results);
  if (subject.kind === "move") return [plan.edges[subject.id].value];
  if (subject.kind === "output") return plan.edges.filter((e) => e.to === `output ${subject.id}`).map((e) => e.value);
  return [subject.id];
}
