"""From the tree of a model file to a `Model`: each statement calls the function that a Python model would call."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ir.build import as_value, binary
from ir.errors import Diagnostic, Source, Span
from ir.graph import Value
from ir.op import Op

from ..dist.make import FAMILIES, make
from ..infer.written import Call, Option, Written
from ..trace import context as trace
from ..trace.context import Context
from ..trace.functions import FUNCTIONS, unknown_function
from ..trace.libraries import library
from ..trace.model import Model
from ..trace.records import Record, makes_record, takes
from . import ast
from .annotations import read_annotations
from .declarations import declarations, declared_dims, error, verify_dim, verify_libraries
from .elaborate_scan import Steps, elaborate_scan
from .parse import parse


def load(path: str | Path) -> Model:
    """The model of a `.ppl` file. Reading it runs no code."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [], 1
        )
        hint = (
            f'did you mean "{path.with_name(near[0])}"?'
            if near
            else "give the path of a model file, as examples/radon.ppl"
        )
        raise Diagnostic("argument", "there is no such model file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Diagnostic("argument", f"the model file cannot be read: {error}", where=str(path)) from None
    return from_text(text, str(path))


def from_text(text: str, file: str = "<model>") -> Model:
    """The model of a text; statements are checked when it is traced, declarations at once."""
    tree = parse(text, file)
    verify_libraries(tree)
    specs = declared_dims(tree)
    declared = tuple(declarations(tree, specs))

    def body(context: Context, inputs: Mapping[str, Value]) -> None:
        _Elaboration(context, inputs, {d.name for d in declared}).run(tree)

    infer = tuple(_call(stage) for stage in tree.infer.stages) if tree.infer is not None else None
    return Model(tree.name.text, specs, declared, body, text, infer)


def program_from_text(text: str, file: str) -> Written:
    """The inference program of a text that stands alone, as `map() >> nuts()` on a command line."""
    lead, source = "infer ", Source(file, text)

    def alone(span: Span) -> Span:
        """The place in `text` of a place in the model file that it is read in."""
        lines, shift = (span.line - 1, span.end_line - 1), len(lead)
        start = max(1, span.column - shift * (lines[0] == 1))
        return Span(source, max(1, lines[0]), start, max(1, lines[1]), span.end_column - shift * (lines[1] == 1))

    try:
        tree = parse(f"model m\n{lead}{text}\n", file)
    except Diagnostic as error:
        error.span = alone(error.span) if error.span is not None else None
        error.hint = error.hint.replace(f"`{lead}", "`") if error.hint else None
        raise
    if tree.infer is None:
        raise Diagnostic("argument", "no inference program is given", where=file, hint="for example nuts(draws = 500)")
    return tuple(_call(stage, alone) for stage in tree.infer.stages)


def _call(node: ast.Call, place: Callable[[Span], Span] = lambda span: span) -> Call:
    options = tuple(
        Option(k.name.text, _literal(k.value, place), place(k.span))
        for k in node.arguments
        if isinstance(k, ast.Keyword)
    )
    return Call(node.function.text, options, place(node.span), place(node.function.span))


def _literal(node: Any, place: Callable[[Span], Span]) -> Any:
    if isinstance(node, ast.Call):
        return (_call(node, place),)
    if isinstance(node, ast.NameList):
        return tuple(n.text for n in node.names)
    if isinstance(node, ast.Name):
        return node.text
    if isinstance(node, ast.Unary):
        return -node.operand.value
    return node.value


class _Elaboration:
    """One trace of a model text."""

    def __init__(self, context: Context, inputs: Mapping[str, Value], data: set[str]):
        self.context, self.data = context, data
        self.names: dict[str, Any] = dict(inputs)
        """Quantities and records so far."""
        self.later: dict[str, int] = {}
        """The line of every definition."""
        self.indices: dict[str, str] = {}
        """Data that index a dim, and that dim."""
        self.steps: Steps | None = None
        """Within a scan: what names mean at a step."""
        self.used: tuple[str, ...] = ()
        self.functions: dict[str, Callable[..., Any]] = dict(FUNCTIONS)

    def run(self, tree: ast.Model) -> None:
        self.later = {s.name.text: s.name.span.line for s in tree.statements if isinstance(s, ast.Sample | ast.Define)}
        for s in tree.statements:
            if isinstance(s, ast.Data | ast.Const) and isinstance(s.type, ast.IndexType):
                self.indices[s.name.text] = s.type.dim.text
        for statement in tree.statements:
            if isinstance(statement, ast.Use):
                self.used = (*self.used, statement.name.text)
                self.functions |= library(statement.name.text)
            if isinstance(statement, ast.Use | ast.Dim | ast.Data | ast.Const):
                continue
            self.context.builder.span = statement.span
            self.statement(statement)
        self.context.builder.span = None

    def at(self, span: Span, message: str, hint: str | None = None) -> Diagnostic:
        return error(span, message, hint)

    def known_dim(self, name: ast.Name) -> None:
        verify_dim(name, self.context.specs)

    def statement(self, s: ast.Statement) -> None:
        if isinstance(s, ast.Scan):
            elaborate_scan(self, s)
            return
        name = s.name.text
        if name in self.context.specs:
            raise self.at(s.name.span, f"'{name}' is the name of a dim", "use another name for the quantity")
        if isinstance(s, ast.Factor):
            value = as_value(self.operand(s.value))
            read_annotations(self, s, ())
            trace.factor(name, value)
            return
        if name in self.data and isinstance(s, ast.Define):
            raise self.at(s.name.span, f'"{name}" is declared as data and cannot be defined', "use another name")
        if name in self.names and name not in self.data:
            raise self.at(s.name.span, f'"{name}" is defined twice', "use another name")
        for d in s.dims:
            verify_dim(d, self.context.specs)
        dims = tuple(d.text for d in s.dims)
        if isinstance(s, ast.Define):
            made = self.expr(s.value)
            if isinstance(made, Record):
                self.record(s, made, dims)
                return
            flags = read_annotations(self, s, ("nosave",))
            value = as_value(made)
            self.context.builder.span = s.value.span
            self.check_dims(name, s.value, value, dims)
            self.names[name] = trace.deterministic(
                name, value, dims, generated=s.generated, saved="nosave" not in flags
            )
            return
        self.sample(s, name, dims)

    def record(self, s: ast.Define, made: Record, dims: tuple[str, ...]) -> None:
        """Gives a record its name: there is no site, and so nothing that is kept, drawn or observed."""
        name = s.name.text
        if dims:
            hint = f"write {name} = …, and give the quantities that are made of it their dims"
            raise self.at(s.dims[0].span, f'"{name}" is {made.kind}, which has no dims of its own', hint)
        if s.generated:
            raise self.at(s.span, f'"{name}" is {made.kind}: only quantities are generated', "take generated away")
        if s.annotations:
            hint = f"take @{s.annotations[0].name} away"
            raise self.at(s.annotations[0].span, f'"{name}" is {made.kind}, which is not kept with the draws', hint)
        self.names[name] = made

    def check_dims(self, name: str, node: Any, value: Any, dims: tuple[str, ...], event: tuple[str, ...] = ()) -> None:
        """Points at the smallest operand that brings a dim which the left side lacks."""
        extra = [d for d in value.dims if d not in (*dims, *event)] if isinstance(value, Value) else []
        if not extra:
            return
        dim, culprit = extra[0], self._culprit(node, extra[0])
        left = f"{name}[{', '.join(dims)}]" if dims else name
        if not isinstance(culprit, ast.Name):
            hint = f"write {name}[{', '.join((*dims, *extra))}] on the left, or sum it: sum(…, over = {dim})"
            raise self.at(culprit.span, f'this has dim [{dim}], which "{left}" does not have', hint)
        shown = culprit.text
        index = next((n for n, d in self.indices.items() if d == dim), "index")
        hint = f"index it, e.g. {shown}[{dim} = {index}], sum it, sum({shown}, over = {dim}), or add {dim} on the left"
        raise self.at(culprit.span, f'"{shown}" has dim [{dim}], which "{left}" does not have', hint)

    def _culprit(self, node: Any, dim: str) -> Any:
        """The first name in an expression whose value has the dim, not below a reduction or look-up of that dim."""
        if isinstance(node, ast.Name):
            return node
        for child in ast.children(node):
            if isinstance(child, ast.Name) and isinstance(node, ast.Call) and child is node.function:
                continue
            if isinstance(child, ast.Keyword | ast.DimMap | ast.IndexBy | ast.IndexStep) or _takes_away(child, dim):
                continue
            if any(
                isinstance(n, ast.Name) and dim in getattr(self.names.get(n.text), "dims", ()) for n in ast.walk(child)
            ):
                return self._culprit(child, dim)
        return node

    def sample(self, s: ast.Sample, name: str, dims: tuple[str, ...]) -> None:
        if name in self.data and name in self.context.sites:
            hint = "an observed quantity has one distribution: take one of the two statements away"
            raise self.at(s.name.span, f'"{name}" is observed twice; first at {self.context.sites[name]}', hint)
        if name in self.data and set(dims) != set(self.names[name].dims):
            own = ", ".join(self.names[name].dims)
            message = f'"{name}" is declared with dims [{own}], but stands here with [{", ".join(dims)}]'
            raise self.at(s.name.span, message, f"write {name}[{own}]" if own else f"write {name}")
        call = self.distribution(s.distribution, name, dims)
        flags = read_annotations(self, s, ("noncentered", "where"))
        self.context.builder.span = s.span
        if name in self.data:
            if s.generated:
                raise self.at(s.name.span, f'"{name}" is data and cannot be generated', "use another name, as y_rep")
            value = self.names[name]
            if "noncentered" in flags:
                hint = "take @noncentered away: an observed quantity stands as it is"
                raise self.at(s.span, f'"{name}" is observed: only a latent quantity can be non-centred', hint)
            trace.observe(name, call, value, where=flags.get("where"))
            return
        if "where" in flags:
            raise self.at(s.span, f'@where marks missing observations, but "{name}" is not data', "declare it as data")
        self.names[name] = trace.sample(name, call, dims, noncentered="noncentered" in flags, generated=s.generated)

    def distribution(self, d: ast.Distribution, name: str, dims: tuple[str, ...]) -> Any:
        """The call of a distribution for the quantity `name[dims]`."""
        event = tuple(e.text for e in d.event)
        for e in d.event:
            verify_dim(e, self.context.specs)
        args, kwargs = self.arguments(d.arguments)
        self.context.builder.span = d.span if d.name.text in FAMILIES else d.name.span
        try:
            call = make(d.name.text, event, args, kwargs)
        except Diagnostic as error:
            raise error.at(d.span) from None
        nodes = [a.value if isinstance(a, ast.Keyword) else a for a in d.arguments]
        for node, value in zip(nodes, [*args, *kwargs.values()], strict=True):
            self.check_dims(name, node, value, dims, (*event, *call.dist.inner()))
        return call

    def arguments(self, arguments: tuple[ast.Argument, ...], records: bool = False) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by position and by name; `records` may be among those of a library's functions only."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for a in arguments:
            if isinstance(a, ast.DimMap):
                kwargs[a.source.text] = a.target.text
                continue
            node = a.value if isinstance(a, ast.Keyword) else a
            x = self.expr(node)
            if isinstance(x, Record) and not records:
                raise self.not_a_quantity(node, x)
            if isinstance(a, ast.Keyword):
                kwargs[a.name.text] = x
            else:
                args.append(x)
        return args, kwargs

    def expr(self, e: Any) -> Any:
        """The value of an expression: a `Value`, a Python number, or the name of a dim where one stands alone."""
        if isinstance(e, ast.Integer | ast.Real | ast.Bool | ast.Text):
            return e.value
        if isinstance(e, ast.NameList):
            for n in e.names:
                verify_dim(n, self.context.specs)
            return [n.text for n in e.names]
        if isinstance(e, ast.Name):
            return self.name(e)
        if isinstance(e, ast.Unary):
            return self.unary(e)
        if isinstance(e, ast.Binary):
            return self.binary(e)
        if isinstance(e, ast.Call):
            return self.call(e)
        return self.index(e)

    def name(self, e: ast.Name) -> Any:
        if self.steps is not None and (found := self.steps.name(e)) is not None:
            return found
        if e.text in self.names:
            return self.names[e.text]
        if e.text in self.context.specs:
            return e.text
        if self.later.get(e.text, 0) > e.span.line:
            message = f'"{e.text}" is used before it is defined, on line {self.later[e.text]}'
            raise self.at(e.span, message, f"move the definition of {e.text} above this line")
        near = difflib.get_close_matches(e.text, [*self.names, *self.context.specs], 1)
        hint = f'did you mean "{near[0]}"?' if near else "define it above this line, or declare it as data"
        raise self.at(e.span, f'unknown name "{e.text}"', hint)

    def operand(self, e: Any) -> Any:
        x = self.expr(e)
        if isinstance(x, str | list):
            raise self.at(e.span, f'"{e}" is a dim, not a quantity', f"coordinate({e}) gives positions along it")
        if isinstance(x, Record):
            raise self.not_a_quantity(e, x)
        return x

    def not_a_quantity(self, e: Any, x: Record) -> Diagnostic:
        """The diagnostic for a record where a tensor or a number is needed."""
        known = [f"{n}(…)" for n, f in self.functions.items() if type(x) in takes(f) and not makes_record(f)]
        hint = f"ask for a quantity of it, as {', '.join(known[:3])}" if known else None
        shown = f'"{_shown(e)}"' if isinstance(e, ast.Name) else "this"
        return self.at(e.span, f"{shown} is {x.kind}, not a quantity", hint)

    def unary(self, e: ast.Unary) -> Any:
        x = self.operand(e.operand)
        self.context.builder.span = e.span
        if e.op == "not":
            return self.context.builder.emit(Op.table["not"](), as_value(x))
        return -x

    def binary(self, e: ast.Binary) -> Any:
        x, y = self.operand(e.left), self.operand(e.right)
        self.context.builder.span = e.span
        if not isinstance(x, Value) and not isinstance(y, Value):
            return _fold(self, e, x, y)
        names = {
            "+": "add",
            "-": "sub",
            "*": "mul",
            "/": "div",
            "^": "pow",
            "<": "lt",
            "<=": "le",
            "==": "eq",
            "!=": "ne",
        }
        if e.op in ("and", "or"):
            return self.context.builder.emit(Op.table[e.op](), as_value(x), as_value(y))
        if e.op in (">", ">="):
            return binary(names[e.op.replace(">", "<")], y, x)
        return binary(names[e.op], x, y)

    def call(self, e: ast.Call) -> Any:
        name = e.function.text
        self.context.builder.span = e.span
        if name not in self.functions:
            self.context.builder.span = e.function.span
            raise unknown_function(self.context, name, self.used)
        args, kwargs = self.arguments(e.arguments, records=name not in FUNCTIONS)
        self.context.builder.span = e.span
        try:
            return self.functions[name](*args, **kwargs)
        except TypeError as error:
            detail = re.sub(r"^[\w.<>]+\(\) ", "", str(error))
            raise self.at(e.span, f"{name} {detail}", _usage(name, self.functions[name])) from None
        except Diagnostic as error:
            raise error.at(e.span) from None

    def index(self, e: ast.Index) -> Value:
        base = self.operand(e.base) if self.steps is None else self.steps.base(e)
        for entry in e.entries:
            if isinstance(entry, ast.IndexStep):
                continue  # `base` is the entry at this step
            where = self.operand(entry.value)
            self.context.builder.span = entry.span
            if not isinstance(base, Value):
                raise self.at(e.base.span, "a number has no dims to index", "take the index away")
            if entry.dim.text not in base.type:
                has = f"it has [{', '.join(base.dims)}]" if base.dims else "it has no dims: take the index away"
                raise self.at(entry.dim.span, f"\"{_shown(e.base)}\" has no dim '{entry.dim.text}'", has)
            if isinstance(where, Value) and where.type.dtype[0] not in "iu":
                hint = f"declare what indexes as data i[…]: index[{entry.dim.text}]"
                raise self.at(
                    entry.value.span, f"an index must hold whole numbers, but this is {where.type.dtype}", hint
                )
            base = base[{entry.dim.text: where}]
        return base


def _fold(self: _Elaboration, e: ast.Binary, x: Any, y: Any) -> Any:
    """Arithmetic of two numbers in the text."""
    try:
        if e.op == "^":
            return float(x) ** y if y < 0 else x**y
        return {
            "+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x / y,
            "<": lambda: x < y, "<=": lambda: x <= y, ">": lambda: x > y, ">=": lambda: x >= y,
            "==": lambda: x == y, "!=": lambda: x != y, "and": lambda: x and y, "or": lambda: x or y,
        }[e.op]()  # fmt: skip
    except (ZeroDivisionError, OverflowError) as error:
        hint = "correct the numbers: both are known before the data"
        raise self.at(e.span, f"this arithmetic has no result: {error}", hint) from None


def _takes_away(node: Any, dim: str) -> bool:
    """Whether a call reduces over the dim, or an index looks it up."""
    if isinstance(node, ast.Index):
        return any(isinstance(e, ast.IndexBy) and e.dim.text == dim for e in node.entries)
    over = [a.value for a in getattr(node, "arguments", ()) if isinstance(a, ast.Keyword) and a.name.text == "over"]
    return any(n.text == dim for v in over for n in ast.walk(v) if isinstance(n, ast.Name))


def _shown(node: Any) -> str:
    return node.text if isinstance(node, ast.Name) else "this"


def _usage(name: str, function: Callable[..., Any]) -> str:
    """How a function is called: `sum(x, over): the first line of its docstring`."""
    doc = (function.__doc__ or "").strip().splitlines()
    takes = ", ".join(p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD)
    return f"{name}({takes}): {doc[0] if doc else ''}"
