"""Programs as JSON, and the two maps from names to the parts of a program that cannot be written down.

What is static in a program is written by value; a user's function (`jax_fn`) is written by its label and comes back
from the mapping `functions` that the reader is given. A distribution is written by its name and found in
`Distribution.table`, or in a mapping `distributions` of classes or instances. `from_json(to_json(p)) == p`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .dims import DTYPES, Dim, TensorType
from .dist import Distribution
from .errors import Diagnostic, InternalError, Source, Span
from .graph import Input, Node, Program, Value
from .op import Op


def to_json(program: Program, *, indent: int | None = None, spans: bool = False) -> str:
    """A program as JSON text; `spans` adds each node's place in its source."""
    return json.dumps(_encode_program(program, spans), indent=indent, ensure_ascii=False)


def from_json(
    text: str, distributions: Mapping[str, Any] | None = None, functions: Mapping[str, Callable] | None = None
) -> Program:
    """Reads what `to_json` wrote; a text that is not a program is a `Diagnostic` of kind "syntax"."""
    reader = _Reader(distributions, functions)
    try:
        return reader.program(json.loads(text))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Diagnostic("syntax", f"this JSON is not a program: {type(error).__name__}: {error}") from None


# --- what text and JSON share: static parameters and named parts ---


def attributes_of(part: Op | Distribution) -> dict[str, Any]:
    """The static parameters of an op or distribution that differ from their defaults."""
    if isinstance(part, Op):
        return part.attributes()
    return {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if getattr(part, f.name) != f.default}


def label_of(function: Callable) -> str:
    """The label under which a user's function is written."""
    return getattr(function, "label", None) or getattr(function, "__name__", type(function).__name__)


def make_op(name: str, attributes: Mapping[str, Any]) -> Op:
    """The op of that name with these static parameters; a mistake is a `Diagnostic` without a span."""
    from . import ops  # noqa: F401  (defining the leaves fills the table)

    if name not in Op.table:
        raise unknown("op", name, Op.table)
    return _make(f"op '{name}'", Op.table[name], attributes)


def make_distribution(name: str, attributes: Mapping[str, Any], known: Mapping[str, Any] | None) -> Distribution:
    """The distribution of that name, from `known` (classes or instances) or else from the table of all leaves."""
    table = {**Distribution.table, **(known or {})}
    if name not in table:
        raise unknown("distribution", name, table)
    found = table[name]
    return _make(f"distribution '{name}'", found, attributes) if isinstance(found, type) else found


def find_function(label: str, known: Mapping[str, Callable] | None) -> Callable:
    if label not in (known or {}):
        raise unknown("function", label, known or {})
    return (known or {})[label]


def check_dtype(dtype: str) -> str:
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    return dtype


def _make(what: str, cls: type, attributes: Mapping[str, Any]) -> Any:
    fields = dataclasses.fields(cls)
    for key in attributes:
        if key not in {f.name for f in fields}:
            raise unknown(f"attribute of {what}", key, [f.name for f in fields])
    for f in fields:
        if f.name not in attributes and f.default is f.default_factory is dataclasses.MISSING:
            raise Diagnostic("syntax", f"{what} needs the attribute '{f.name}'")
    return cls(**attributes)


def unknown(what: str, name: str, known: Iterable[str]) -> Diagnostic:
    """The diagnostic for a name that means nothing, with the nearest one that does."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return Diagnostic("syntax", f"unknown {what}: '{name}'", hint=f"did you mean '{near[0]}'?" if near else None)


def parse_span(text: str) -> Span | None:
    """The span of a `file:line:column` note; the source's text is not kept with a program."""
    file, _, rest = text.rpartition(":")
    file, _, line = file.rpartition(":")
    if not (file and line.isdigit() and rest.isdigit()):
        return None
    return Span(Source(file, ""), int(line), int(rest), int(line), int(rest) + 1)


# --- JSON ---


def _encode_program(program: Program, spans: bool) -> dict[str, Any]:
    def value(v: Value) -> dict[str, Any]:
        return {"name": v.name, "type": _encode(v.type, spans)}

    def node(n: Node) -> dict[str, Any]:
        at = {"span": str(n.span)} if spans and n.span else {}
        operands = [v.name for v in n.operands]
        return {**_encode(n.op, spans), "operands": operands, "results": [value(v) for v in n.results], **at}

    return {
        "program": program.name,
        "inputs": [{**value(i.value), "role": i.role} for i in program.inputs],
        "nodes": [node(n) for n in program.nodes],
        "outputs": [[name, v.name] for name, v in program.outputs],
        "ties": dict(program.ties),
    }


def _encode(x: Any, spans: bool) -> Any:
    match x:
        case None | bool() | int() | str():
            return x
        case float():
            return x if math.isfinite(x) else {"float": repr(x)}
        case complex():
            return {"complex": [_encode(x.real, spans), _encode(x.imag, spans)]}
        case Dim():
            return {"dim": x.name, "size": x.size}
        case TensorType():
            return {"dtype": x.dtype, "dims": [[d.name, d.size] for d in x.dims]}
        case Program():
            return _encode_program(x, spans)
        case Op():
            return {"op": x.name, "attributes": {k: _encode(v, spans) for k, v in attributes_of(x).items()}}
        case Distribution():
            return {"distribution": x.name, "attributes": {k: _encode(v, spans) for k, v in attributes_of(x).items()}}
        case tuple() | list():
            return [_encode(v, spans) for v in x]
        case Mapping():
            return {"map": [[_encode(k, spans), _encode(v, spans)] for k, v in x.items()]}
    if callable(x):
        return {"function": label_of(x)}
    raise InternalError(f"a {type(x).__name__} cannot be written as an attribute of an op")


class _Reader:
    def __init__(self, distributions: Mapping[str, Any] | None, functions: Mapping[str, Callable] | None):
        self.distributions, self.functions = distributions, functions

    def program(self, tree: Mapping[str, Any]) -> Program:
        values: dict[str, Value] = {}

        def define(entry: Mapping[str, Any]) -> Value:
            value = Value(entry["name"], self.value(entry["type"]))
            return values.setdefault(value.name, value)

        inputs = tuple(Input(define(i), i["role"]) for i in tree["inputs"])
        nodes = []
        for n in tree["nodes"]:
            op, operands = self.value(n), tuple(values[v] for v in n["operands"])
            span = parse_span(n["span"]) if "span" in n else None
            nodes.append(Node(op, operands, tuple(define(r) for r in n["results"]), span))
        outputs = tuple((name, values[v]) for name, v in tree["outputs"])
        return Program(tree["program"], inputs, tuple(nodes), outputs, dict(tree["ties"]))

    def value(self, tree: Any) -> Any:
        match tree:
            case list():
                return tuple(self.value(v) for v in tree)
            case {"op": name, "attributes": attributes}:
                return make_op(name, {k: self.value(v) for k, v in attributes.items()})
            case {"distribution": name, "attributes": attributes}:
                return make_distribution(name, {k: self.value(v) for k, v in attributes.items()}, self.distributions)
            case {"program": _}:
                return self.program(tree)
            case {"dim": name, "size": size}:
                return Dim(name, size)
            case {"dtype": dtype, "dims": dims}:
                return TensorType(tuple(Dim(name, size) for name, size in dims), check_dtype(dtype))
            case {"float": text}:
                return math.nan if text == "nan" else float(text)
            case {"complex": [real, imag]}:
                return complex(self.value(real), self.value(imag))
            case {"map": pairs}:
                return {self.value(k): self.value(v) for k, v in pairs}
            case {"function": label}:
                return find_function(label, self.functions)
        return tree
