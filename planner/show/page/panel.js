// What is known of the selected value, box, reshard or output.
const panel = document.getElementById("panel");
const stepCount = plan.memory.bytes.length;

const link = (subject, text) => html("button", { type: "button", class: "link", onclick: () => select(subject, "panel") }, text);
const valueLink = (name) => link({ kind: "value", id: name }, nameOf(name));
const edgeEnd = (edge) => (edge.node === null ? link({ kind: "output", id: edge.to.slice(7) }, edge.to) : valueLink(nodes.get(edge.node).results[0]));

function facts(pairs) {
  return html("dl", { class: "pairs" }, pairs.filter(([, x]) => x !== null && x !== "").map(([k, x]) => [html("dt", {}, k), html("dd", {}, x)]).flat());
}

function source(where, text) {
  if (!where) return null;
  return html("span", {}, where, text ? html("code", { class: "source" }, text) : "");
}

function priced(node) {
  if (!node || node.seconds === null) return node?.body ? `${node.body.trips.toLocaleString("en")} trips` : null;
  const total = plan.prediction?.seconds ?? 0;
  return `${seconds(node.seconds)}${times(node.trips)} (${percent(nodeSeconds(node), total)} of the plan)`;
}

function movesTable(moves) {
  const row = (m) => html("tr", {}, html("td", {}, m.move.replace("->", "→")), html("td", {}, m.kind === "slice" ? "–" : bytes(m.bytes)),
    html("td", {}, m.kind === "slice" ? "free" : seconds(m.seconds) + (m.trips > 1 ? ` × ${m.trips}` : "") + (m.by ? `, ${m.by}` : "")));
  return html("table", { class: "moves" }, html("tbody", {}, moves.map(row)));
}

function usesOf(v) {
  const rows = uses.get(v.value).map((edge) => {
    const note = !edge.moves.length ? "" : edge.paid ? movesTable(edge.moves) : html("small", {}, "shares the copy in this layout");
    return html("li", {}, edgeEnd(edge), " as ", layoutTag(edge.layout), note);
  });
  return rows.length ? html("div", {}, html("h4", {}, "Used by"), html("ul", {}, rows)) : null;
}

function otherLayouts(v) {
  const found = plan.prices?.values[v.value], heading = html("h4", {}, "What other layouts would cost");
  if (!found) return html("div", {}, heading, html("p", { class: "caption" }, "Not known on this page: ", html("code", {}, `meshbayes plan … --explain ${v.name}`), " tells it for one value."));
  const priced = found.map(([i, extra]) => [plan.prices.layouts[i], extra]).filter(([layout]) => layout !== v.layout);
  const near = priced.filter(([, extra]) => extra !== null), far = priced.filter(([, extra]) => extra === null);
  if (!priced.length) return html("div", {}, heading, html("p", { class: "caption" }, "It can have no other: its maker leaves none, or pins and ties forbid it."));
  const worst = Math.max(...near.map(([, extra]) => extra), 1e-30);
  const row = ([layout, extra]) => html("tr", {}, html("td", {}, layoutTag(layout)), html("td", { class: "number" }, extra ? `+${seconds(extra)}` : "the same"),
    html("td", { class: "share" }, html("i", { style: `width:${((100 * extra) / worst).toFixed(1)}%` })));
  return html("div", {}, heading,
    html("p", { class: "caption" }, "Seconds more than this plan, everything else chosen anew, the memory budget left aside."),
    near.length ? html("table", { class: "moves" }, html("tbody", {}, near.map(row))) : null,
    far.length ? html("p", { class: "caption" }, `More than +${seconds(plan.prices.limit)}, or in no plan: ${far.map(([layout]) => layout.replaceAll(", ", " ")).join(", ")}`) : null);
}

function valuePanel(v) {
  const node = producer(v.value), block = v.block.length ? v.block.join(" × ") : "one number";
  const outer = scanOfInput.has(v.value) ? outerOf(v.value) : null;
  return [
    html("h3", {}, titleOf(v)),
    facts([
      ["type", html("code", {}, v.type)],
      ["layout", layoutTag(v.layout)],
      ["block per device", `${block}, ${bytes(v.block_bytes)}${v.stored ? "" : " (needs no memory of its own)"}`],
      ["made by", node ? node.op : outer ? html("span", {}, "input of the scan, from ", valueLink(outer)) : v.by],
      ["strategy", node?.strategy ?? null],
      ["computing", priced(node)],
      ["from", node?.operands.length ? html("span", {}, node.operands.map((o, i) => [i ? ", " : "", valueLink(o)]).flat()) : null],
      ["lives", `steps ${v.life[0]} to ${v.life[1]} of ${stepCount - 1}`],
      ["model", source(v.where, node?.source)],
    ]),
    usesOf(v),
    otherLayouts(v),
  ];
}

function foldPanel(number) {
  const members = plan.folds[number].map((key) => nodes.get(key)), last = values.get(members.at(-1).results[0]);
  const total = members.reduce((sum, n) => sum + nodeSeconds(n), 0);
  const opened = unfolded.has(`fold ${number}`);
  const turn = () => {
    unfolded[opened ? "delete" : "add"](`fold ${number}`);
    drawGraph();
    select(state.select, "panel");
  };
  return [
    html("h3", {}, `${members.length} elementwise nodes`),
    facts([
      ["layout", layoutTag(last.layout)],
      ["computing", `${seconds(total)} (${percent(total, plan.prediction?.seconds ?? 0)} of the plan)`],
      ["model", source(members[0].where, members[0].source)],
    ]),
    html("button", { type: "button", onclick: turn }, opened ? "fold" : "unfold in the graph"),
    html("h4", {}, "In order of execution"),
    html("table", { class: "moves" }, html("tbody", {}, members.map((n) => html("tr", {}, html("td", {}, valueLink(n.results[0])), html("td", {}, n.op),
      html("td", {}, shortType(values.get(n.results[0]).type)), html("td", {}, n.seconds === null ? "" : seconds(nodeSeconds(n))))))),
  ];
}

function movePanel(edge) {
  const v = values.get(edge.value), sharing = uses.get(edge.value).filter((e) => e.layout === edge.layout);
  const paid = sharing.find((e) => e.paid) ?? edge;
  return [
    html("h3", {}, `${v.name}: ${v.layout === edge.layout ? "halo" : "reshard"}`),
    facts([["value", valueLink(v.value)], ["type", html("code", {}, v.type)], ["from", layoutTag(v.layout)], ["to", layoutTag(edge.layout)],
      ["time", seconds(paid.moves.reduce((sum, m) => sum + moveSeconds(m), 0))]]),
    html("h4", {}, "Moves"), movesTable(edge.moves.map((m, i) => paid.moves[i] ?? m)),
    html("p", { class: "caption" }, "Bytes are those of the operand on one device."),
    html("h4", {}, sharing.length > 1 ? `For ${sharing.length} consumers, paid once` : "For"), html("ul", {}, sharing.map((e) => html("li", {}, edgeEnd(e)))),
  ];
}

function outputPanel(name) {
  const edge = plan.edges.find((e) => e.to === `output ${name}` && e.node === null), v = values.get(edge.value);
  return [html("h3", {}, `output ${name}`), facts([["value", valueLink(v.value)], ["type", html("code", {}, v.type)], ["leaves as", layoutTag(edge.layout)]]), edge.moves.length ? movesTable(edge.moves) : null];
}

function helpPanel() {
  const line = (what, text) => html("li", {}, html("b", {}, what), ` ${text}`);
  return [
    html("h3", {}, "How to read this"),
    html("ul", {},
      line("Boxes", "are values, coloured by where they live; grey is whole on every device, hatched is a partial sum."),
      line("Framed labels", "on the lines are reshards: kind, mesh axes, bytes of the operand on one device, seconds. Thick lines move many bytes."),
      line("The bar", "at the foot of a box is its computing time; the longest is the slowest node's."),
      line("Boxes in a stack", "are folded elementwise nodes of one line of the model; + unfolds them."),
      line("Thin dashed lines", "carry values of the forward pass to the gradient.")),
    html("p", { class: "caption" }, "Click a box, a label on a line, a row of a table, or the memory chart. Keys in the graph: arrows move, Enter selects, space unfolds, + and − zoom, 0 fits."),
  ];
}

listeners.select.push((subject) => {
  const made = !subject ? helpPanel() : { value: () => valuePanel(values.get(subject.id)), fold: () => foldPanel(subject.id), move: () => movePanel(plan.edges[subject.id]), output: () => outputPanel(subject.id) }[subject.kind]();
  panel.replaceChildren(...made.filter((x) => x));
  panel.scrollTop = 0;
});
