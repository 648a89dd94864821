"""Why something cannot be: fixed layouts that no input or output can have, pins that no producer can satisfy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ir.errors import Diagnostic
from ir.graph import Program
from ir.layout import WHOLE, Layout
from ir.mesh import Mesh
from ir.op import Strategy

from .ask.conflict import demands_of, order_text
from .build import Impossible
from .candidates import Candidates, all_layouts
from .orders import Ban, Pin, Unsatisfiable
from .pins import Rules, chains_of


def check_fixed(fixed: Mapping[str, Layout], program: Program, mesh: Mesh) -> dict[str, Layout]:
    """The layouts forced on values: those of the fixed inputs, and of inputs to which fixed outputs are tied."""
    inputs, outputs = {i.name: i.value for i in program.inputs}, program.results
    inner = {f"{r.name}:{n}": v for node in program.walk() for r in node.op.regions() for n, v in r.outputs}
    forced: dict[str, Layout] = {}
    for name, layout in fixed.items():
        value = {**inner, **outputs, **inputs}.get(name)
        if value is None:
            have = ", ".join([*inputs, *outputs])
            raise Diagnostic(
                "plan", f"cannot fix the layout of '{name}'", where="fixed", hint=f"inputs and outputs: {have}"
            )
        if layout not in set(all_layouts(value.type, mesh)):
            raise Diagnostic(
                "plan",
                f"'{name}' is {value.type} and cannot lie as {layout} on mesh {mesh}",
                where="fixed",
                hint="an input or output is split over axes of the mesh along its own dims, and never a partial sum",
            )
        bound = {name} if name in inputs else set()
        if name in outputs and name in program.ties:
            bound.add(program.ties[name])
        for target in bound:
            if forced.setdefault(target, layout) != layout:
                raise Diagnostic(
                    "plan",
                    f"'{target}' is fixed to {forced[target]} and to {layout}",
                    where="fixed",
                    hint="an output that is tied to an input leaves in the layout in which the input arrives",
                )
    return forced


def explain_no_chains(program: Program, mesh: Mesh) -> Unsatisfiable:
    """The orders leave no way to split the chains of those that their number allows."""
    count = chains_of(program)
    hint = f"they are whole or split over mesh axes whose product divides their number, {count}: leave one such way"
    return Unsatisfiable(f"the {count} chains may be split in no way on mesh {mesh}", hint=hint)


def explain_unreachable(pins: Sequence[Pin | Ban], fixed: Mapping[str, Layout]) -> Unsatisfiable:
    """Each order is one that its value's own node could follow, but nothing that the other values do leads there."""
    orders = [order_text(d) for d in demands_of(pins, fixed)]
    hint = "drop it, or order a value that is made from this one, which is resharded to its own layout"
    if any(isinstance(p, Pin) and p.partial for p in pins):
        hint = "a sum is left open only by what reduces a split dim, and by what is made of such sums alone; " + hint
    return Unsatisfiable(f"no layouts of the other values lead to {' and '.join(orders)}", hint=hint)


def explain_impossible(
    found: Impossible, rules: Rules, candidates: Candidates, names: Mapping[str, str]
) -> Unsatisfiable:
    """Why no layout is left for a value, and what its producer could give."""
    value, node = found.value, found.node
    shown = next((user for user, name in names.items() if name == value.name), value.name)
    pins = rules.orders.get(value.name, ())
    if node is None or not pins or node.op.regions():
        what = "what is fixed, tied or given to the chains"
        why = f"no layout of '{shown}' satisfies {' and '.join([*map(str, pins), what])}"
        return Unsatisfiable(why, hint="they contradict each other; drop one")
    split = {d: axes for pin in pins if isinstance(pin, Pin) for d, axes in pin.split}
    back = {new: old for old, new in node.op.renames().items()}
    mine = {back.get(d, d): a for d, a in split.items()}
    ways = [Strategy.of(mine, method=m) for m in node.op.methods()] if split else []
    reasons = [node.op.illegal(node.types, s, candidates.mesh) for s in ways]
    reason = reasons[-1] if reasons and all(reasons) else None
    renamed = [f"'{d}' is its '{back[d]}'" for d in split if d in back]
    if reason and renamed:
        reason += f" ({', '.join(renamed)})"
    firm = " and ".join(map(str, pins))
    return Unsatisfiable(
        f"'{shown}' cannot leave {node.op.name} {'under' if any(isinstance(p, Ban) for p in pins) else 'as'} {firm}"
        + (f": {reason}" if reason else ": none of its strategies does that"),
        where=pins[0].where,
        span=node.span,
        hint=f"{_left_so(found, pins, candidates)}; or pin a value that is made from it, which is resharded to its own "
        "layout",
    )


def _left_so(found: Impossible, orders: Sequence[Pin | Ban], candidates: Candidates) -> str:
    """In which layouts the producer can leave the value and no ban forbids; open sums where orders speak of them."""
    assert found.node is not None
    op, at = found.node.op, found.node.results.index(found.value)
    every = dict.fromkeys(c.leaves[at] for c in candidates.of_node(found.node).candidates)
    left = [x for x in every if all(o.allows(x) for o in orders if isinstance(o, Ban))]
    if not left:
        return f"every way in which {op.name} can leave it is banned"
    if all(o.pin.partial is None for o in orders):
        left = list(dict.fromkeys(Layout(x.splits) for x in left))
    possible = [x for x in left if x != WHOLE][:6]
    return f"{op.name} can leave it {', '.join(map(str, possible)) if possible else 'whole only'}"
