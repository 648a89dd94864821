"""What a model file declares before it says how its quantities come about: libraries, dims and data."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from ir.errors import Diagnostic, Span

from ..io.declare import Declaration
from ..trace.context import DimSpec
from ..trace.libraries import LIBRARIES, near
from . import ast

RULES = ("freq", "rfreq", "alias")


def verify_libraries(tree: ast.Model) -> None:
    """Every library that a model uses must be there."""
    for s in tree.statements:
        if isinstance(s, ast.Use) and s.name.text not in LIBRARIES:
            meant = near(s.name.text)
            hint = f"write `use {meant[0]}`" if meant else f"the libraries are {', '.join(LIBRARIES)}"
            raise error(s.name.span, f'there is no library "{s.name}"', hint)


def declared_dims(tree: ast.Model) -> dict[str, DimSpec]:
    """The dims by name, and how each gets its size."""
    specs: dict[str, DimSpec] = {}
    for s in tree.statements:
        if not isinstance(s, ast.Dim):
            continue
        name = s.name.text
        if name in specs:
            raise error(s.name.span, f"dim '{name}' is declared twice; first at {specs[name].span}", "use another name")
        if isinstance(s.size, ast.Derived):
            rule = s.size.rule.text
            args = s.size.arguments
            if rule not in RULES:
                near = difflib.get_close_matches(rule, RULES, 1)
                raise error(
                    s.size.rule.span,
                    f'unknown rule "{rule}" for the size of a dim',
                    f'did you mean "{near[0]}"?' if near else "the rules are freq(x), rfreq(x) and alias(x)",
                )
            if len(args) != 1 or not isinstance(args[0], ast.Name):
                raise error(s.size.span, f"{rule}(…) takes the name of one dim", f"as dim {name} = {rule}(x)")
            if args[0].text not in specs:
                near = difflib.get_close_matches(args[0].text, specs, 1)
                raise error(
                    args[0].span,
                    f"unknown dim '{args[0].text}'",
                    f'did you mean "{near[0]}"?' if near else f"declare it before: dim {args[0].text}",
                )
            specs[name] = DimSpec(name, None, rule, args[0].text, s.span)
        else:
            specs[name] = DimSpec(name, s.size.value if s.size else None, span=s.span)
    return specs


def declarations(tree: ast.Model, specs: Mapping[str, DimSpec]) -> Iterator[Declaration]:
    """The data and constants, in their order."""
    seen: dict[str, Span] = {}
    masked = {
        s.name.text
        for s in ast.walk(tree)
        if isinstance(s, ast.Sample) and any(a.name.text == "where" for a in s.annotations)
    }
    for s in tree.statements:
        if not isinstance(s, ast.Data | ast.Const):
            continue
        name = s.name.text
        if name in seen:
            raise error(s.name.span, f'"{name}" is declared twice; first at {seen[name]}', "use another name")
        if name in specs:
            raise error(s.name.span, f'"{name}" is the name of a dim; data need another name', None)
        seen[name] = s.name.span
        for d in s.dims:
            verify_dim(d, specs)
        index_dim, lower, upper = None, None, None
        if isinstance(s.type, ast.IndexType):
            verify_dim(s.type.dim, specs)
            index_dim, kind = s.type.dim.text, "index"
        else:
            kind = s.type.name
            lower = number(s.type.lower) if s.type.lower is not None else None
            upper = number(s.type.upper) if s.type.upper is not None else None
        default = number(s.default) if isinstance(s, ast.Const) and s.default is not None else None
        dims = tuple(d.text for d in s.dims)
        yield Declaration(name, dims, kind, index_dim, lower, upper, default, s.span, name in masked)  # type: ignore[arg-type]


def verify_dim(name: ast.Name, specs: Mapping[str, DimSpec]) -> None:
    if name.text not in specs:
        near = difflib.get_close_matches(name.text, specs, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"declare it: dim {name.text}"
        raise error(name.span, f"unknown dim '{name.text}'", hint)


def error(span: Span, message: str, hint: str | None) -> Diagnostic:
    return Diagnostic("type", message, span=span, hint=hint)


def number(node: ast.Expr) -> float | int | bool:
    """A constant expression: a number, or a minus and a number."""
    if isinstance(node, ast.Unary) and node.op == "-":
        return -number(node.operand)
    if isinstance(node, ast.Integer | ast.Real | ast.Bool):
        return node.value
    raise error(node.span, "a number is needed here, known before the data", "write it out, as 0 or -1.5")


__all__ = ["declarations", "declared_dims", "error", "verify_dim", "verify_libraries"]
