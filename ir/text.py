"""The text of a program: one line a node, printed and parsed exactly.

    program line {
      data %x: f32[obs=9]
      latent %slope: f32[]
      %0: f32[obs=9] = mul %slope, %x  @ line.ppl:4:12
      %1: f32[] = sum{over=["obs"], accumulate="f64"} %0
      output total = %1
      tie total = slope
    }

A line that starts with a role and a value is an input. An op's static parameters stand in braces: JSON literals, a dim
as `x=9`, a type as `f32[x=9]`, an op as `pow{}`, a distribution as `~Normal`, a user's function as `&label`, and a
region as a whole `program`. A name that is not a plain word stands in double quotes. `@` starts a node's place in its
source and `#` a comment; neither takes part in equality. `parse_program(print_program(p)) == p`: see `ir.parse`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .dims import Dim, TensorType
from .dist import Distribution
from .errors import InternalError
from .graph import Node, Program, Value
from .op import Op
from .parse import LITERALS, WORD, parse_program
from .serial import attributes_of, label_of

__all__ = ["parse_program", "print_node", "print_program"]


def print_program(program: Program, *, spans: bool = False) -> str:
    """A program as text; `spans` adds each node's place in its source."""
    return _program(program, "", spans) + "\n"


def print_node(node: Node, *, spans: bool = False, indent: str = "") -> str:
    """A node's line, with its regions' lines."""
    results = ", ".join(f"{_value(v)}: {_type(v.type)}" for v in node.results)
    operands = "".join(f", {_value(v)}" for v in node.operands)[1:]
    at = f"  @ {node.span}" if spans and node.span else ""
    return f"{indent}{results} = {_part(node.op, indent, spans)}{operands}{at}"


def _program(program: Program, indent: str, spans: bool) -> str:
    inner = indent + "  "
    lines = [f"program {_name(program.name)} {{"]
    lines += [f"{inner}{i.role} {_value(i.value)}: {_type(i.type)}" for i in program.inputs]
    lines += [print_node(node, spans=spans, indent=inner) for node in program.nodes]
    lines += [f"{inner}output {_name(name)} = {_value(value)}" for name, value in program.outputs]
    lines += [f"{inner}tie {_name(output)} = {_name(to)}" for output, to in program.ties.items()]
    return "\n".join((*lines, indent + "}"))


def _name(name: str) -> str:
    return name if re.fullmatch(WORD, name) and name not in LITERALS else json.dumps(name, ensure_ascii=False)


def _value(value: Value) -> str:
    return f"%{value.name}" if re.fullmatch(r"[\w.]+", value.name) else f"%{json.dumps(value.name, ensure_ascii=False)}"


def _dim(dim: Dim) -> str:
    return f"{_name(dim.name)}={dim.size}"


def _type(t: TensorType) -> str:
    return f"{t.dtype}[{', '.join(map(_dim, t.dims))}]"


def _part(part: Op | Distribution, indent: str, spans: bool, braces: bool = False) -> str:
    """An op or distribution with its static parameters."""
    attributes = ", ".join(f"{k}={_literal(v, indent, spans)}" for k, v in attributes_of(part).items())
    return f"{_name(part.name)}{{{attributes}}}" if attributes or braces else _name(part.name)


def _literal(x: Any, indent: str, spans: bool) -> str:
    match x:
        case None | bool():
            return json.dumps(x)
        case int() | float():
            return repr(x)
        case complex():
            return f"({x.real!r}, {x.imag!r})"
        case str():
            return json.dumps(x, ensure_ascii=False)
        case Dim():
            return _dim(x)
        case TensorType():
            return _type(x)
        case Op():
            return _part(x, indent, spans, braces=True)
        case Distribution():
            return f"~{_part(x, indent, spans)}"
        case Program():
            return _program(x, indent, spans)
        case tuple() | list():
            return f"[{', '.join(_literal(v, indent, spans) for v in x)}]"
        case Mapping():
            pairs = (f"{_literal(k, indent, spans)}: {_literal(v, indent, spans)}" for k, v in x.items())
            return f"{{{', '.join(pairs)}}}"
    if callable(x):
        return f"&{_name(label_of(x))}"
    raise InternalError(f"a {type(x).__name__} cannot be written as an attribute of an op")
