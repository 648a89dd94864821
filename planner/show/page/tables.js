// The most expensive nodes and moves, and the table of all values.
function costList(title, rows, total) {
  const row = ([subject, name, what, time]) => html("tr", {}, html("td", {}, link(subject, name)), html("td", {}, what), html("td", { class: "number" }, seconds(time)),
    html("td", { class: "number" }, percent(time, total)), html("td", { class: "share" }, html("i", { style: `width:${((100 * time) / rows[0][3]).toFixed(1)}%` })));
  const body = rows.length ? html("table", {}, html("tbody", {}, rows.map(row))) : html("p", { class: "caption" }, "none");
  return html("div", {}, html("h3", {}, title), body);
}

function drawCosts() {
  const total = plan.prediction?.seconds ?? 0;
  const byTime = (a, b) => b[3] - a[3];
  const computing = plan.nodes.filter((n) => nodeSeconds(n) > 0).map((n) => [{ kind: "value", id: n.results[0] }, nameOf(n.results[0]), `${n.op}${times(n.trips)}`, nodeSeconds(n)]).sort(byTime);
  const moving = plan.edges.flatMap((e) => e.moves.filter((m) => isPaid(e, m) && moveSeconds(m) > 0)
    .map((m) => [{ kind: "move", id: e.number }, nameOf(e.value), `${m.move.replace("->", "→")} ${bytes(m.bytes)}${times(m.trips)}`, moveSeconds(m)])).sort(byTime);
  document.getElementById("costs-lists").append(costList("Computing", computing.slice(0, 10), total), costList("Communicating", moving.slice(0, 10), total));
}

const COLUMNS = [
  ["value", (v) => v.name, (v) => link({ kind: "value", id: v.value }, v.name)],
  ["type", (v) => v.type, (v) => v.type],
  ["layout", (v) => v.layout, (v) => layoutTag(v.layout)],
  ["bytes", (v) => v.block_bytes, (v) => bytes(v.block_bytes)],
  ["by", (v) => producer(v.value)?.op ?? v.by, (v) => producer(v.value)?.op ?? v.by],
  ["computing", (v) => (producer(v.value) ? nodeSeconds(producer(v.value)) : 0), (v) => (producer(v.value)?.seconds != null ? seconds(nodeSeconds(producer(v.value))) : "")],
  ["moves", (v) => v.moves.reduce((sum, m) => sum + moveSeconds(m), 0), (v) => v.moves.filter((m) => m.kind !== "slice").map((m) => `${m.kind} ${bytes(m.bytes)}`).join(", ")],
  ["lives", (v) => v.life[0], (v) => `${v.life[0]}–${v.life[1]}`],
  ["where", (v) => v.where, (v) => v.where],
];
const NUMERIC = new Set(["bytes", "computing", "lives"]);
const rowOf = new Map();
let sortedBy = null, descending = false;

function drawValues() {
  const table = document.getElementById("value-table");
  const headings = COLUMNS.map(([name, by]) => {
    const sort = () => {
      descending = sortedBy === name ? !descending : NUMERIC.has(name) || name === "moves";
      sortedBy = name;
      headings.forEach((h) => h.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const keyed = plan.values.map((v) => [by(v), v]);
      keyed.sort(([a], [b]) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true })));
      body.append(...(descending ? keyed.reverse() : keyed).map(([, v]) => rowOf.get(v.value)));
    };
    const heading = html("th", { scope: "col", class: NUMERIC.has(name) ? "number" : "" }, html("button", { type: "button", onclick: sort }, name));
    return heading;
  });
  const body = html("tbody");
  for (const v of plan.values) {
    const row = html("tr", { onmouseenter: () => hover({ kind: "value", id: v.value }, "table"), onmouseleave: () => hover(null, "table") },
      COLUMNS.map(([name, , cell]) => html("td", { class: NUMERIC.has(name) ? "number" : name === "type" ? "code" : "" }, cell(v))));
    row.dataset.text = `${v.name} ${v.type} ${v.layout} ${producer(v.value)?.op ?? v.by} ${v.where} ${v.moves.map((m) => m.kind).join(" ")}`.toLowerCase();
    rowOf.set(v.value, row);
    body.append(row);
  }
  table.append(html("thead", {}, html("tr", {}, headings)), body);
  for (const id of ["filter", "only-named", "only-moved"]) document.getElementById(id).addEventListener("input", filterValues);
  filterValues();
}

function filterValues() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const named = document.getElementById("only-named").checked, onlyMoved = document.getElementById("only-moved").checked;
  let count = 0;
  for (const v of plan.values) {
    const row = rowOf.get(v.value);
    row.hidden = !words.every((w) => row.dataset.text.includes(w)) || (named && !v.named) || (onlyMoved && !v.moves.some((m) => m.kind !== "slice"));
    count += !row.hidden;
  }
  document.getElementById("count").textContent = count === plan.values.length ? `${count} values` : `${count} of ${plan.values.length} values`;
}

listeners.select.push((subject) => {
  for (const row of rowOf.values()) row.classList.remove("selected");
  for (const name of valuesOf(subject)) rowOf.get(name)?.classList.add("selected");
});
