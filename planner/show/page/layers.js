// Drawing a directed acyclic graph in layers (Sugiyama, Tagawa and Toda 1981): who stands where.
// arrange([{id, w, h}], [[from, to]]) -> {at: Map id -> {x, y} (centres), paths: [[{x, y}]], width, height}
const GAP = 18, LAYER_GAP = 34, SWEEPS = 12;

function arrange(items, edges) {
  if (!items.length) return { at: new Map(), paths: [], width: 0, height: 0 };
  const size = new Map(items.map((i) => [i.id, i]));
  const next = new Map(items.map((i) => [i.id, []])), before = new Map(items.map((i) => [i.id, []]));
  for (const [u, v] of edges) {
    next.get(u).push(v);
    before.get(v).push(u);
  }
  const level = levelsOf(items.map((i) => i.id), next, before);
  const paths = edges.map(([u, v]) => {
    const path = [u];
    for (let l = level.get(u) + 1; l < level.get(v); l++) path.push(bend(u, v, l));
    return [...path, v];
  });
  const up = new Map(), down = new Map();
  for (const id of level.keys()) up.set(id, []), down.set(id, []);
  for (const path of paths)
    for (let i = 1; i < path.length; i++) {
      down.get(path[i - 1]).push(path[i]);
      up.get(path[i]).push(path[i - 1]);
    }
  const layers = ordered(level, up, down);
  const width = (id) => size.get(id)?.w ?? 4;
  const x = across(layers, up, down, width, size);
  return placed(items, layers, level, paths, x, width, size);

  // An edge that crosses a layer has a place of its own in it; and is drawn straight through it.
  function bend(u, v, l) {
    const id = `${u}\0${v}\0${l}`;
    level.set(id, l);
    return id;
  }
}

function levelsOf(ids, next, before) {
  const level = new Map(), waiting = new Map(ids.map((id) => [id, before.get(id).length]));
  const ready = ids.filter((id) => !waiting.get(id));
  ready.forEach((id) => level.set(id, 0));
  for (let i = 0; i < ready.length; i++)
    for (const v of next.get(ready[i])) {
      level.set(v, Math.max(level.get(v) ?? 0, level.get(ready[i]) + 1));
      waiting.set(v, waiting.get(v) - 1);
      if (!waiting.get(v)) ready.push(v);
    }
  for (const id of [...ready].reverse()) // what nothing leads to stands just above what uses it first
    if (!before.get(id).length && next.get(id).length) level.set(id, Math.min(...next.get(id).map((v) => level.get(v))) - 1);
  return level;
}

function ordered(level, up, down) {
  const count = Math.max(...level.values()) + 1;
  const layers = Array.from({ length: count }, () => []);
  const seen = new Set();
  for (const start of level.keys()) {
    const pending = [start];
    while (pending.length) {
      const id = pending.pop();
      if (seen.has(id)) continue;
      seen.add(id);
      layers[level.get(id)].push(id);
      pending.push(...down.get(id), ...up.get(id));
    }
  }
  let best = layers.map((l) => [...l]), fewest = crossings(best, down);
  for (let sweep = 0; sweep < SWEEPS && fewest; sweep++) {
    const downward = sweep % 2 === 0, near = downward ? up : down;
    const place = new Map();
    layers.forEach((layer) => layer.forEach((id, i) => place.set(id, i / Math.max(layer.length - 1, 1))));
    for (const layer of downward ? layers : [...layers].reverse()) {
      const centre = new Map(layer.map((id) => [id, mean(near.get(id).map((m) => place.get(m)), place.get(id))]));
      layer.sort((a, b) => centre.get(a) - centre.get(b));
      layer.forEach((id, i) => place.set(id, i / Math.max(layer.length - 1, 1)));
    }
    const found = crossings(layers, down);
    if (found < fewest) (fewest = found), (best = layers.map((l) => [...l]));
  }
  return best;
}

function crossings(layers, down) {
  const place = new Map();
  layers.forEach((layer) => layer.forEach((id, i) => place.set(id, i)));
  let total = 0;
  for (const layer of layers.slice(0, -1)) {
    const ends = layer.flatMap((u) => down.get(u).map((v) => place.get(v)).sort((a, b) => a - b));
    for (let i = 0; i < ends.length; i++) for (let j = i + 1; j < ends.length; j++) if (ends[i] > ends[j]) total++;
  }
  return total;
}

const mean = (numbers, otherwise) => (numbers.length ? numbers.reduce((a, b) => a + b, 0) / numbers.length : otherwise);

// Places from left to right: near to the neighbours in the least-squares sense, boxes apart, in the given order.
function across(layers, up, down, width, size) {
  const x = new Map();
  const offsets = layers.map((layer) => {
    const offset = [];
    layer.forEach((id, i) => offset.push(i ? offset[i - 1] + (width(layer[i - 1]) + width(id)) / 2 + GAP : 0));
    layer.forEach((id, i) => x.set(id, offset[i] - offset[layer.length - 1] / 2));
    return offset;
  });
  for (let sweep = 0; sweep < 3 * SWEEPS; sweep++) {
    const near = [(id) => up.get(id), (id) => down.get(id), (id) => [...up.get(id), ...down.get(id)]][sweep % 3];
    layers.forEach((layer, l) => {
      const wanted = layer.map((id, i) => mean(near(id).map((m) => x.get(m)), x.get(id)) - offsets[l][i]);
      const weights = layer.map((id) => (size.has(id) ? 1 : 8)); // a long edge should run straight
      isotonic(wanted, weights).forEach((y, i) => x.set(layer[i], y + offsets[l][i]));
    });
  }
  return x;
}

// The non-decreasing sequence nearest to `wanted`: neighbours that violate the order are pooled.
function isotonic(wanted, weights) {
  const pools = [];
  wanted.forEach((y, i) => {
    pools.push({ y, w: weights[i], n: 1 });
    while (pools.length > 1 && pools.at(-2).y > pools.at(-1).y) {
      const b = pools.pop(), a = pools.pop();
      pools.push({ y: (a.y * a.w + b.y * b.w) / (a.w + b.w), w: a.w + b.w, n: a.n + b.n });
    }
  });
  return pools.flatMap((p) => Array(p.n).fill(p.y));
}

function placed(items, layers, level, paths, x, width, size) {
  const heights = layers.map((layer) => Math.max(0, ...layer.map((id) => size.get(id)?.h ?? 0)));
  const tops = [0];
  heights.forEach((h) => tops.push(tops.at(-1) + h + LAYER_GAP));
  const left = Math.min(...[...x].map(([id, c]) => c - width(id) / 2));
  const right = Math.max(...[...x].map(([id, c]) => c + width(id) / 2));
  const point = (id) => ({ x: x.get(id) - left, y: tops[level.get(id)] + heights[level.get(id)] / 2 });
  const passed = (id) => {
    const top = tops[level.get(id)], px = x.get(id) - left;
    return [{ x: px, y: top }, { x: px, y: top + heights[level.get(id)] }]; // straight through the layer
  };
  return {
    at: new Map(items.map((i) => [i.id, point(i.id)])),
    paths: paths.map((path) => {
      const first = point(path[0]), last = point(path.at(-1));
      return [
        { x: first.x, y: first.y + size.get(path[0]).h / 2 },
        passed(path[0])[1],
        ...path.slice(1, -1).flatMap(passed),
        passed(path.at(-1))[0],
        { x: last.x, y: last.y - size.get(path.at(-1)).h / 2 },
      ];
    }),
    width: right - left,
    height: tops.at(-1) - LAYER_GAP,
  };
}
