"""AST to canonical model text: `parse(unparse(model)) == model` for every model (tested by property).

One statement a line, one way to space it, parentheses only where the grammar needs them.
"""

from __future__ import annotations

from itertools import groupby

from ppl.text import ast

# How tightly each operator binds, and how tightly its left and right operands must bind to stand without parentheses.
BINDING = {"or": (1, 1, 2), "and": (2, 2, 3), "+": (5, 5, 6), "-": (5, 5, 6), "*": (6, 6, 7), "/": (6, 6, 7)}
BINDING |= dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), (4, 5, 5))
BINDING |= {"^": (8, 9, 7)}
PREFIX = {"not": 3, "-": 7}
TIGHTEST = 9


def unparse(model: ast.Model) -> str:
    """The canonical text of a model, ending in a newline."""
    lines = [f"model {model.name}"]
    for kind, group in groupby(model.statements, type):
        if kind is ast.Dim:
            lines.append("dim " + ", ".join(dim(d) for d in group))
        else:
            lines.extend(statement(s) for s in group)
    if model.infer:
        lines.append(f"infer {' >> '.join(expr(stage) for stage in model.infer.stages)}")
    return "\n".join(lines) + "\n"


def dim(node: ast.Dim) -> str:
    if node.size is None:
        return node.name.text
    if isinstance(node.size, ast.Integer):
        return f"{node.name} = {node.size.value}"
    return f"{node.name} = {node.size.rule}({listed(node.size.arguments)})"


def statement(node: ast.Statement) -> str:
    match node:
        case ast.Use():
            return f"use {node.name}"
        case ast.Dim():
            return "dim " + dim(node)
        case ast.Data():
            return f"data {left(node)}: {type_text(node.type)}"
        case ast.Const():
            default = "" if node.default is None else f" = {expr(node.default)}"
            return f"const {left(node)}: {type_text(node.type)}{default}"
        case ast.Sample() | ast.Define():
            return variable(node)
        case ast.Factor():
            return f"factor {node.name} = {expr(node.value)}{annotations(node)}"
        case ast.Scan():
            body = "".join(f"  {variable(inner)}\n" for inner in node.body)
            return f"scan {node.step} in {node.dim} {{\n{body}}}{annotations(node)}"


def variable(node: ast.Sample | ast.Define) -> str:
    if isinstance(node, ast.Sample):
        relation, write, value = "~", distribution, node.distribution
    else:
        relation, write, value = "=", expr, node.value
    generated = "generated " if node.generated else ""
    init = "" if node.init is None else f" init {write(node.init)}"
    return f"{generated}{left(node)} {relation} {write(value)}{init}{annotations(node)}"


def left(node: ast.Data | ast.Const | ast.Sample | ast.Define) -> str:
    return node.name.text + bracketed(node.dims)


def bracketed(names: tuple[ast.Name, ...]) -> str:
    return f"[{', '.join(name.text for name in names)}]" if names else ""


def type_text(node: ast.ScalarType | ast.IndexType) -> str:
    if isinstance(node, ast.IndexType):
        return f"index[{node.dim}]"
    # A comparison cannot stand bare in a bound: its `>` would close the bounds.
    bounds = [f"{end} = {expr(b, 5)}" for end, b in (("lower", node.lower), ("upper", node.upper)) if b is not None]
    return f"{node.name}<{', '.join(bounds)}>" if bounds else node.name


def distribution(node: ast.Distribution) -> str:
    return f"{node.name}{bracketed(node.event)}({listed(node.arguments)})"


def annotations(node: ast.Sample | ast.Define | ast.Factor | ast.Scan) -> str:
    written = (f"@{a.name}" + (f"({listed(a.arguments)})" if a.arguments else "") for a in node.annotations)
    return "".join("  " + text for text in written)


def listed(arguments: tuple[ast.Argument, ...]) -> str:
    return ", ".join(argument(a) for a in arguments)


def argument(node: ast.Argument) -> str:
    match node:
        case ast.Keyword(name, ast.NameList(names)):
            return f"{name} = {bracketed(names)}"
        case ast.Keyword(name, value):
            return f"{name} = {expr(value)}"
        case ast.DimMap(source, target):
            return f"{source} -> {target}"
    return expr(node)


def expr(node: ast.Expr, binding: int = 0) -> str:
    """The text of an expression, in parentheses if it binds less tightly than `binding`."""
    match node:
        case ast.Integer(value) | ast.Real(value):
            return repr(value)
        case ast.Bool(value):
            return "true" if value else "false"
        case ast.Text(value):
            return f'"{value}"'
        case ast.Name(text):
            return text
        case ast.Call(function, arguments):
            return f"{function}({listed(arguments)})"
        case ast.Index(base, entries):
            return f"{expr(base, TIGHTEST)}[{', '.join(entry(e) for e in entries)}]"
        case ast.Unary(op, operand):
            own = PREFIX[op]
            written = f"{op}{' ' if op == 'not' else ''}{expr(operand, own)}"
        case ast.Binary(op, a, b):
            own, left_binding, right_binding = BINDING[op]
            space = "" if op == "^" else " "
            written = f"{expr(a, left_binding)}{space}{op}{space}{expr(b, right_binding)}"
    return f"({written})" if own < binding else written


def entry(node: ast.IndexBy | ast.IndexStep) -> str:
    if isinstance(node, ast.IndexBy):
        return f"{node.dim} = {expr(node.value)}"
    if node.offset == 0:
        return node.step.text
    return f"{node.step} {'-' if node.offset < 0 else '+'} {abs(node.offset)}"
