"""Building a scan while its body is being written: what the body needs enters the region when it is first used.

scan = ScanBuilder(b, Dim("time", 100))
with scan:
    h = scan.carry("h", start)            # what the last step handed over
    y = scan.slice(series)                # this step's entry of a tensor with the dim
    scan.close([a * h + y], {"h": h})     # `a` is captured from outside
(last,), stacked = scan.emit()
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from .build import Builder
from .dims import Dim, TensorType
from .graph import Program, Value
from .ops.control import Scan, stacked
from .ops.create import Coordinate
from .ops.order import reorder


class ScanBuilder:
    """A scan along `dim` under construction in `outer`. As a context manager it makes its region the builder in use."""

    def __init__(self, outer: Builder, dim: Dim, name: str = "scan", *, reverse: bool = False, every: int = 0):
        self.outer, self.dim, self.reverse, self.every = outer, dim, reverse, every
        self.region = outer.region(name, capture=True)
        self.carries: list[tuple[Value, Value]] = []
        """Each carry: its first value, outside, and what comes into a step, inside."""
        self._program: Program | None = None

    def __enter__(self) -> ScanBuilder:
        self.region.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.region.__exit__(*error)

    def carry(self, name: str, first: Value) -> Value:
        """What the last step handed over under this name; at the first step `first`."""
        comes = self.region.input(f"{self.region.name}:{name}", first.type)
        self.carries.append((first, comes))
        return comes

    def slice(self, x: Value) -> Value:
        """This step's entry of a tensor with the dim."""
        known = self.region.sliced
        if x not in known:
            known[x] = self.region.input(f"{self.region.name}:{x.name}", x.type.without([self.dim.name]))
        return known[x]

    def index(self) -> Value:
        """The position of the step along the dim, i32."""
        return self.slice(self.outer.emit(Coordinate(self.dim, "index", 0, "i32")))

    def enter(self, op: Scan, operands: Sequence[Value], skip: Container[str] = ()) -> dict[str, Value]:
        """The inputs of another scan's body, by name, as this one knows them: to build that scan again.

        What all steps share is captured when it is used; inputs named in `skip` are left out.
        """
        env: dict[str, Value] = {}
        for i, (value, x) in enumerate(zip(op.region_operands(), operands, strict=True)):
            if value.name in skip:
                continue
            if i < op.carries:
                env[value.name] = self.carry(value.name.removeprefix(f"{op.region.name}:"), x)
            else:
                env[value.name] = self.slice(x) if i < op.carries + op.scanned else x
        return env

    def stacked(self, t: TensorType) -> TensorType:
        """The type of one value per step."""
        return stacked(t, self.dim)

    def close(self, leaves: Sequence[Value], outputs: Mapping[str, Value]) -> None:
        """Ends the body: what goes into the next step, in the order of the carries, and what is stacked."""
        b = self.region
        comes = [inner for _, inner in self.carries]
        leaves = [reorder(b.own(v), c.dims) for v, c in zip(leaves, comes, strict=True)]
        made = {f"carry{i}": v for i, v in enumerate(leaves)}
        made |= {f"step:{name}": b.own(v) for name, v in outputs.items()}
        kind = {v.name: 0 for v in comes} | {v.name: 1 for v in b.sliced.values()}
        b.inputs.sort(key=lambda i: kind.get(i.name, 2))  # a slice may have been asked for after a capture
        self._program = b.finish(made, {f"carry{i}": v.name for i, v in enumerate(comes)})

    def emit(self, names: Sequence[str] = ()) -> tuple[tuple[Value, ...], dict[str, Value]]:
        """The scan itself: the last carries, and the stacked outputs by name. `names` are wished for all of them."""
        assert self._program is not None, "a scan is emitted after its body is closed"
        count = len(self.carries)
        scanned = len(self.region.sliced)
        op = Scan(self.dim.name, self._program, count, scanned, self.reverse, self.dim.size, every=self.every)
        operands = (*(first for first, _ in self.carries), *self.region.sliced, *self.region.captured)
        results = self.outer.emit_all(op, *operands, names=names)
        outputs = (name.removeprefix("step:") for name, _ in self._program.outputs[count:])
        return results[:count], dict(zip(outputs, results[count:], strict=True))


__all__ = ["ScanBuilder"]
