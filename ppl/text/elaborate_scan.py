"""The scans of a model text: `scan t in time { … }` becomes a body for `ppl.scan`.

Each statement holds at every step t. What it reads at `t - k` is handed on from step to step; at the first k steps
there is no such entry, so the statement has an `init`, which stands in its place there:

    h[t] ~ Normal(a * h[t - 1] + b * h[t - 2], s)  init Normal(0, 1)        # init at the first two steps

Tensors from outside that have the scan's dim are read as `x[t]`; everything else is the same at each step.
`} @checkpoint(every = 8)` says how many states a gradient keeps, `} @checkpoint` leaves that to the planner.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ir.build import as_value, binary, cast, constant
from ir.graph import Value
from ir.ops.create import Broadcast

from ..dist.make import DistCall
from ..trace import context as trace
from ..trace.functions import FUNCTIONS
from ..trace.scan import Step, scan
from . import ast
from .annotations import read_annotations

if TYPE_CHECKING:
    from .elaborate import _Elaboration

UNREAD = 0.5
"""What stands for entries before the first: never part of a result, but ordinary functions are finite there, so that
the gradient of what is selected away is finite too."""


def elaborate_scan(model: _Elaboration, s: ast.Scan) -> None:
    """States a scan; afterwards its names stand for whole tensors."""
    steps = Steps(model, s)
    steps.check()
    context = model.context
    carry = {}
    for name, lag in steps.lags.items():
        dims = context.dims(steps.dims(steps.statements[name]))
        for k in range(1, lag + 1):
            number = constant(UNREAD, context.builder.real)
            carry[_key(name, k)] = context.builder.emit(Broadcast(dims), number) if dims else number
    observed = {x.name.text: model.names[x.name.text] for x in s.body if x.name.text in model.data}
    told = read_annotations(model, s, ("checkpoint",))
    context.builder.span = s.span
    model.names |= scan(s.dim.text, steps.body, carry, observed, checkpoint=told.get("checkpoint", False))


def _key(name: str, lag: int) -> str:
    """The name under which the entry `lag` steps ago is carried."""
    return name if lag == 1 else f"{name}.{lag}"


class Steps:
    """What names mean inside one scan."""

    def __init__(self, model: _Elaboration, s: ast.Scan):
        self.model, self.scan, self.step, self.dim = model, s, s.step.text, s.dim.text
        self.statements = {x.name.text: x for x in s.body if x.name.text not in model.data}
        """Those that define a quantity."""
        self.lags: dict[str, int] = {}
        """How far back each quantity is read, of those that are."""
        self.values: dict[str, Value] = {}
        """What the statements so far define at this step."""
        self.carried: dict[str, Value] = {}
        self.at: Step

    # --- before anything is built ---

    def check(self) -> None:
        """Everything that can be said of the scan without the types of its expressions."""
        error, model = self.model.at, self.model
        if self.step in model.context.specs or self.step in model.names:
            what = "a dim" if self.step in model.context.specs else "a quantity"
            raise error(self.scan.step.span, f'"{self.step}" is {what} already', "use another name for the step")
        model.known_dim(self.scan.dim)
        seen: set[str] = set()
        for s in self.scan.body:
            self._check_left(s, seen)
            seen.add(s.name.text)
            for index, offset in _step_indices(s):
                self._check_step(index, offset)

    def _check_step(self, index: ast.Index, offset: int) -> None:
        """Refuses a later step, and another step of what the scan does not make; notes how far back is read."""
        name = index.base.text if isinstance(index.base, ast.Name) else ""
        outer = self.model.names.get(name)
        if offset and name not in self.statements and isinstance(outer, Value) and self.dim in outer.type:
            moved = f"{name}_{'before' if offset < 0 else 'after'}"
            shift = f"{moved}[{', '.join(outer.dims)}] = lag({name}, {self.dim}, {-offset}, 0)"
            raise self.model.at(
                index.span,
                f'"{name}" is no quantity of this scan: only its entry at step {self.step} is at hand',
                f"shift it before the scan, `{shift}`, and read {moved}[{self.step}]",
            )
        if offset > 0:
            hint = "a scan runs forwards: state it for the later entry, which reads the earlier one"
            raise self.model.at(
                index.span, f"{self._written(index, offset)} is not known yet at step {self.step}", hint
            )
        if offset < 0 and name in self.statements:
            self.lags[name] = max(self.lags.get(name, 0), -offset)

    def _check_left(self, s: ast.Sample | ast.Define, seen: set[str]) -> None:
        error, model, name = self.model.at, self.model, s.name.text
        if name in model.context.specs:
            raise error(s.name.span, f"'{name}' is the name of a dim", "use another name for the quantity")
        if name in model.data and isinstance(s, ast.Define):
            raise error(s.name.span, f'"{name}" is declared as data and cannot be defined', "use another name")
        if name in seen or (name in model.names and name not in model.data) or name == self.step:
            raise error(s.name.span, f'"{name}" is defined twice', "use another name")
        left = [d.text for d in s.dims]
        if self.step not in left:
            own = [d for d in left if d != self.dim]
            hint = f"write {name}[{', '.join([self.step, *own])}], or move the statement out of the scan"
            raise error(s.name.span, f'"{name}" stands in a scan, but lacks its step {self.step}', hint)
        for d in s.dims:
            if d.text == self.dim:
                hint = f"take it away: after the scan, {name} has the dim {self.dim}"
                raise error(d.span, f"[{self.step}] stands for an entry along '{self.dim}' already", hint)
            if d.text != self.step:
                model.known_dim(d)
        if name in model.data and {self.dim, *self.dims(s)} != set(model.names[name].dims):
            own_dims = model.names[name].dims
            own = [self.step if d == self.dim else d for d in own_dims]
            if self.dim not in own_dims:
                message = f"\"{name}\" is declared without the dim '{self.dim}'"
                raise error(s.name.span, message, "move the statement out of the scan")
            message = (
                f'"{name}" is declared with dims [{", ".join(own_dims)}], but stands here with [{", ".join(left)}]'
            )
            raise error(s.name.span, message, f"write {name}[{', '.join(own)}]")
        if name in model.data and name in model.context.sites:
            hint = "an observed quantity has one distribution: take one of the two statements away"
            raise error(s.name.span, f'"{name}" is observed twice; first at {model.context.sites[name]}', hint)

    def dims(self, s: ast.Sample | ast.Define) -> tuple[str, ...]:
        """The dims of a quantity at one step."""
        return tuple(d.text for d in s.dims if d.text != self.step)

    # --- the body ---

    def body(self, step: Step, carried: dict[str, Value], slices: Any) -> tuple[dict[str, Value], dict[str, Value]]:
        self.at, self.carried = step, carried
        self.model.steps = self
        try:
            for s in self.scan.body:
                self.model.context.builder.span = s.span
                self._statement(s)
        finally:
            self.model.steps = None
        real = self.model.context.builder.real
        leaves = {}
        for name, lag in self.lags.items():
            now = self.values[name]
            leaves[name] = cast(now, real) if now.type.dtype[0] in "biu" else now
            leaves |= {_key(name, k): carried[_key(name, k - 1)] for k in range(2, lag + 1)}
        return leaves, self.values

    def _statement(self, s: ast.Sample | ast.Define) -> None:
        model, name, left = self.model, s.name.text, tuple(d.text for d in s.dims)
        begins = self._check_lags(s)
        if isinstance(s, ast.Define):
            flags = read_annotations(model, s, ("nosave",))
            value = self._value(s, s.value, left)
            if s.init is not None:
                begin = self._value(s, s.init, left)
                value = FUNCTIONS["where"](self._is_before(begins), begin, value)
            self.values[name] = trace.deterministic(name, value, self.dims(s), saved="nosave" not in flags)
            return
        call = model.distribution(s.distribution, name, left)
        if s.init is not None:
            call = self._begin(s, begins, model.distribution(s.init, name, left), call)
        flags = read_annotations(model, s, ("noncentered", "where"))
        model.context.builder.span = s.span
        if name in model.data:
            if "noncentered" in flags:
                hint = "take @noncentered away: an observed quantity stands as it is"
                raise model.at(s.span, f'"{name}" is observed: only a latent quantity can be non-centred', hint)
            trace.observe(name, call, self.at.at(model.names[name]), where=flags.get("where"))
            return
        if "where" in flags:
            raise model.at(s.span, f'@where marks missing observations, but "{name}" is not data', "declare it as data")
        self.values[name] = trace.sample(name, call, self.dims(s), noncentered="noncentered" in flags)

    def _value(self, s: ast.Define, e: ast.Expr, left: tuple[str, ...]) -> Value:
        value = as_value(self.model.expr(e))
        self.model.context.builder.span = e.span
        self.model.check_dims(s.name.text, e, value, left)
        return value

    def _check_lags(self, s: ast.Sample | ast.Define) -> int:
        """At how many first steps the `init` of a statement holds: as many as it reads back; 0 where it has none."""
        main = s.distribution if isinstance(s, ast.Sample) else s.value
        late = [(index, offset) for index, offset in _step_indices(main) if offset < 0]
        if s.init is None:
            for index, offset in late:
                example = "init Normal(0, 1)" if isinstance(s, ast.Sample) else "init 0"
                read = self._written(index, offset)
                raise self.model.at(
                    index.span,
                    f'"{s.name}" reads {read}, which does not exist at the first step{"s" if offset < -1 else ""}',
                    f"say at the end of the line what holds there, as in `{example}`",
                )
            return 0
        for index, offset in _step_indices(s.init):
            if offset < 0:
                raise self.model.at(
                    index.span,
                    f"init stands for the first steps, where {self._written(index, offset)} does not exist",
                    "write it without entries of earlier steps",
                )
        return max((-offset for _, offset in late), default=1)

    def _is_before(self, steps: int) -> Value:
        """Whether this is one of the first steps."""
        return self.at.first if steps == 1 else binary("lt", self.at.index, steps)

    def _begin(self, s: ast.Sample, begins: int, begin: DistCall, main: DistCall) -> DistCall:
        """The distribution that is `begin` at the first steps and `main` at the others."""
        assert s.init is not None
        if begin.dist != main.dist or len(begin.params) != len(main.params):
            same = begin.dist.name == main.dist.name
            raise self.model.at(
                s.init.span,
                f'"{s.name.text}" goes on as {main.dist.name}, but begins as '
                + ("another form of it" if same else begin.dist.name),
                "give init the same named parameters and dims as the distribution before it"
                if same
                else f"begin with the same distribution, with other parameters: init {main.dist.name}(…)",
            )
        first = self._is_before(begins)
        pairs = zip(begin.params, main.params, strict=True)
        return DistCall(main.dist, tuple(b if b == m else FUNCTIONS["where"](first, b, m) for b, m in pairs))

    # --- names and indices in expressions ---

    def name(self, e: ast.Name) -> Value | None:
        """What a name alone stands for, where that is the scan's affair."""
        if e.text == self.step:
            return self.at.index
        outer = self.model.names.get(e.text)
        if e.text in self.statements:
            raise self.model.at(
                e.span,
                f'"{e.text}" has one entry for each step',
                f"write {e.text}[{self.step}] for the one of this step",
            )
        if isinstance(outer, Value) and self.dim in outer.type:
            raise self.model.at(
                e.span,
                f'"{e.text}" has dim [{self.dim}], which the scan goes along',
                f"write {e.text}[{self.step}] for its entry at this step",
            )
        return None

    def base(self, e: ast.Index) -> Any:
        """What stands before the brackets, at the step that they name."""
        entries = [x for x in e.entries if isinstance(x, ast.IndexStep)]
        model = self.model
        if not entries:
            whole = isinstance(e.base, ast.Name) and any(x.dim.text == self.dim for x in e.entries)  # type: ignore[union-attr]
            return model.names[e.base.text] if whole and e.base.text in model.names else model.operand(e.base)  # type: ignore[union-attr]
        if len(entries) > 1:
            raise model.at(entries[1].span, "an entry has one step", f"write [{self.step}] once")
        if not isinstance(e.base, ast.Name):
            raise model.at(e.span, "only a name can be read at a step", f"name it first: x[{self.step}] = …")
        name, offset = e.base.text, entries[0].offset
        if name not in self.statements:
            return self._outer(e, name)
        if offset < 0:
            return self.carried[_key(name, -offset)]
        if name not in self.values:
            hint = f"move the statement of {name} above this one, or read {name}[{self.step} - 1]"
            raise model.at(e.span, f"{name}[{self.step}] is read before it is stated", hint)
        return self.values[name]

    def _outer(self, e: ast.Index, name: str) -> Value:
        """The entry at this step of a quantity from outside."""
        near = difflib.get_close_matches(name, self.statements, 1)
        if name not in self.model.names and near:
            raise self.model.at(e.base.span, f'unknown name "{name}"', f'did you mean "{near[0]}"?')
        x = self.model.names[name] if name in self.model.names else self.model.name(e.base)  # type: ignore[arg-type]
        if not isinstance(x, Value) or self.dim not in x.type:
            raise self.model.at(
                e.span, f'"{name}" has no dim [{self.dim}]: it is the same at each step', f"write {name}"
            )
        return self.at.at(x)

    def _written(self, index: ast.Index, offset: int) -> str:
        base = index.base.text if isinstance(index.base, ast.Name) else "…"
        return f"{base}[{self.step} {'+' if offset > 0 else '-'} {abs(offset)}]"


def _step_indices(node: ast.Node) -> Iterator[tuple[ast.Index, int]]:
    """The indices below a node that name a step, with their offsets."""
    for index in ast.walk(node):
        if isinstance(index, ast.Index):
            yield from ((index, e.offset) for e in index.entries if isinstance(e, ast.IndexStep))


__all__ = ["Steps", "elaborate_scan"]
