"""The checks of an AST that need no declarations and no signatures: what `ast` promises beyond the grammar."""

from __future__ import annotations

from typing import NoReturn

from ir.errors import Diagnostic, Span
from ppl.text import ast


def fail(span: Span, message: str, hint: str) -> NoReturn:
    raise Diagnostic("syntax", message, span=span, hint=hint)


def rewritten(span: Span, text: str) -> str:
    """The hint to write a line with the range of `span` replaced by `text`."""
    before, after = span.source.line(span.line), span.source.line(span.end_line)
    return f"write `{(before[: span.column - 1] + text + after[span.end_column - 1 :]).strip()}`"


def is_literal(value: ast.Expr | ast.NameList) -> bool:
    if isinstance(value, ast.Unary):
        return value.op == "-" and isinstance(value.operand, ast.Integer | ast.Real)
    return isinstance(value, ast.Integer | ast.Real | ast.Bool | ast.Text | ast.Name | ast.NameList)


def verify_options(call: ast.Call) -> None:
    """An algorithm's options are given by name, and their values are literals or further algorithms."""
    waiting = [call]
    while waiting:
        here = waiting.pop()
        for argument in here.arguments:
            if not isinstance(argument, ast.Keyword):
                message = f"an option of `{here.function}` is given by name"
                fail(argument.span, message, "give it a name, as in `draws = 1000`")
            if isinstance(argument.value, ast.Call):
                waiting.append(argument.value)
            elif not is_literal(argument.value):
                message = (
                    f"the option `{argument.name}` must be a number, true, false, a string, a name, a list of names"
                )
                hint = "write its value out, as in `target_accept = 0.9`"
                fail(argument.value.span, f"{message} or an algorithm, as `nuts()`", hint)


def verify_arguments(arguments: list[ast.Argument]) -> None:
    """Positional arguments come first, and a keyword comes once."""
    seen: dict[str, ast.Keyword] = {}
    for argument in arguments:
        if isinstance(argument, ast.Keyword):
            if argument.name.text in seen:
                fail(argument.span, f"the argument `{argument.name}` is given twice", "give it once")
            seen[argument.name.text] = argument
        elif seen and not isinstance(argument, ast.DimMap):
            fail(
                argument.span,
                f"an argument without a name cannot follow the named argument `{next(reversed(seen))}`",
                "put it first, or give it a name too, as in `scale = 1`",
            )


def verify_depth(model: ast.Model) -> None:
    """Recursive functions over the tree are safe from Python's recursion limit."""
    waiting: list[tuple[ast.Node, int]] = [(statement, 0) for statement in (*model.statements, *infer_of(model))]
    while waiting:
        node, depth = waiting.pop()
        if depth > ast.MAX_DEPTH:
            fail(
                node.span,
                f"this expression has more than {ast.MAX_DEPTH} levels",
                "give a part of it a name of its own: `part = ...`, then use `part`",
            )
        waiting.extend((child, depth + 1) for child in ast.children(node))


def verify_uses(model: ast.Model) -> None:
    """Libraries are named before anything else is said, each once."""
    seen: set[str] = set()
    other = next((s for s in model.statements if not isinstance(s, ast.Use)), None)
    for use in model.statements:
        if not isinstance(use, ast.Use):
            continue
        if use.name.text in seen:
            fail(use.span, f"`use {use.name}` stands twice", "remove this line")
        seen.add(use.name.text)
        if other is not None and other.span.line < use.span.line:
            message = "a library is named before all other statements"
            fail(use.span, message, f"move this line up, below `model {model.name}`")


def infer_of(model: ast.Model) -> tuple[ast.Infer, ...]:
    return (model.infer,) if model.infer is not None else ()


def verify_step_indices(model: ast.Model) -> None:
    """Outside a scan every index names its dim; inside, `t`, `t - 1` and `t + 1` may stand without one."""
    index_dims = {
        d.name.text: d.type.dim
        for d in model.statements
        if isinstance(d, ast.Data | ast.Const) and isinstance(d.type, ast.IndexType)
    }
    dims = {d.name.text for d in model.statements if isinstance(d, ast.Dim)}
    for statement in model.statements:
        step = statement.step.text if isinstance(statement, ast.Scan) else None
        for node in ast.walk(statement):
            if isinstance(node, ast.Index):
                verify_index(node, step, index_dims, dims)


def verify_index(index: ast.Index, step: str | None, index_dims: dict[str, ast.Name], dims: set[str]) -> None:
    """`step` is the step of the scan around us, `index_dims` the dim that each declared index tensor points into."""
    base = index.base.text if isinstance(index.base, ast.Name) else "x"
    for entry in index.entries:
        if isinstance(entry, ast.IndexBy):
            continue
        named = entry.step.text if isinstance(entry, ast.IndexStep) and entry.offset == 0 else None
        if isinstance(entry, ast.IndexStep) and entry.step.text == step:
            continue
        if named in dims:
            message = f"dims are not written where a value is used: `{base}` brings `{named}` with it"
            alone = rewritten(index.span, base) if len(index.entries) == 1 else f"leave out `{named}`"
            fail(entry.span, message, f"{alone}; to pick entries along a dim, name it: `{base}[{named} = ...]`")
        message = "an index says which dim it indexes; there are no positions to count"
        if step is not None:
            message += f" (in this scan only `{step}` and `{step} - 1` stand without a dim)"
        if named in index_dims:
            fail(entry.span, message, rewritten(entry.span, f"{index_dims[named]} = {named}"))
        shown = entry.span.source.line(entry.span.line)[entry.span.column - 1 : entry.span.end_column - 1]
        hint = rewritten(entry.span, f"k = {shown}") + " with your dim for `k`; entries count from 0"
        fail(entry.span, message, hint)
