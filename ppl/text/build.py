"""From Lark's tree to our AST, holding each node to what `ast` promises about it.

`Build` has one method for each rule of grammar.lark, in the same order; children arrive already built.
"""

from __future__ import annotations

import math

from lark import Token, Tree
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive, v_args

from ir.errors import Source, Span
from ppl.text import ast
from ppl.text.check import (
    fail,
    rewritten,
    verify_arguments,
    verify_depth,
    verify_options,
    verify_step_indices,
    verify_uses,
)

FOREIGN_TYPES = {"float": "real", "double": "real", "Real": "real", "integer": "int", "Int": "int", "boolean": "bool"}
LARGEST_INTEGER = 2**63 - 1


def build(tree: Tree, source: Source) -> ast.Model:
    """The AST of a parsed file, checked."""
    try:
        model = Build(source).transform(tree)
    except VisitError as error:
        raise error.orig_exc from None
    verify_depth(model)
    verify_step_indices(model)
    verify_uses(model)
    return model


def span_of(source: Source, place) -> Span:
    """The range of a token, or of a tree's `meta`."""
    return Span(source, place.line, place.column, place.end_line, place.end_column)


@v_args(meta=True)
class Build(Transformer_NonRecursive):
    """Rule by rule; a method's `at` is where the rule's text begins and ends."""

    def __init__(self, source: Source):
        super().__init__()
        self.source = source

    def _span(self, place) -> Span:
        return span_of(self.source, place)

    def start(self, at, children):
        name, *rest = [child for child in children if child is not None]
        infer = rest.pop() if rest and isinstance(rest[-1], ast.Infer) else None
        statements = []
        for child in rest:
            statements.extend(child if isinstance(child, list) else [child])
        return ast.Model(name, tuple(statements), infer, span=self._span(at))

    def use(self, at, children):
        return ast.Use(children[0], span=self._span(at))

    def dims(self, at, children):
        return children

    def dim(self, at, children):
        name, size = children
        if isinstance(size, ast.Real) or (isinstance(size, ast.Integer) and size.value < 1):
            fail(
                size.span,
                f"the size of dim `{name}` must be a whole number of at least 1",
                rewritten(size.span, str(max(1, int(size.value)))),
            )
        return ast.Dim(name, size, span=self._span(at))

    def derived(self, at, children):
        rule, *arguments = children
        for argument in arguments:
            if isinstance(argument, ast.Real):
                fail(argument.span, f"`{rule}` takes dims and whole numbers", "write a whole number, without a point")
        return ast.Derived(rule, tuple(arguments), span=self._span(at))

    def data(self, at, children):
        return children

    def datum(self, at, children):
        name, dims, type_ = children
        return ast.Data(name, dims or (), type_, span=self._span(at))

    def consts(self, at, children):
        return children

    def const(self, at, children):
        name, dims, type_, default = children
        return ast.Const(name, dims or (), type_, default, span=self._span(at))

    def type(self, at, children):
        name, dims, bounds = children
        if name.text == "index":
            return self._index_type(at, dims, bounds)
        if name.text not in ast.SCALARS:
            meant = FOREIGN_TYPES.get(name.text, "real")
            fail(
                name.span,
                f"`{name}` is not a type; the types are real, int, bool, complex and index[dim]",
                rewritten(name.span, meant) + "; dims stand on the name, as in `data y[obs]: real`",
            )
        if dims:
            listed = ", ".join(dim.text for dim in dims)
            fail(
                dims[0].span,
                f"dims stand on the name that is declared, not on its type `{name}`",
                f"put them on the name: `y[{listed}]: {name}`",
            )
        if bounds and name.text not in ("real", "int"):
            fail(self._span(at), f"a {name} has no bounds", rewritten(self._span(at), name.text))
        return ast.ScalarType(name.text, **(bounds or {}), span=self._span(at))

    def _index_type(self, at, dims, bounds):
        if not dims or len(dims) != 1:
            fail(
                self._span(at),
                "an index type names the one dim that its values point into",
                rewritten(self._span(at), "index[county]") + " with your dim for `county`",
            )
        if bounds:
            fail(
                self._span(at),
                "an index has no bounds: its dim bounds it",
                rewritten(self._span(at), f"index[{dims[0]}]"),
            )
        return ast.IndexType(dims[0], span=self._span(at))

    def bounds(self, at, children):
        found = {}
        for name, value in children:
            if name.text not in ("lower", "upper"):
                fail(
                    name.span,
                    f"`{name}` is not a bound",
                    rewritten(name.span, "upper" if "max" in name.text else "lower"),
                )
            if name.text in found:
                fail(name.span, f"the bound `{name}` is given twice", "give it once")
            found[name.text] = value
        return found

    def bound(self, at, children):
        return children

    def sample(self, at, children):
        (name, dims), distribution, annotations = children
        return ast.Sample(name, dims, distribution, annotations, span=self._span(at))

    def define(self, at, children):
        (name, dims), value, annotations = children
        return ast.Define(name, dims, value, annotations, span=self._span(at))

    def generated(self, at, children):
        (made,) = children
        if isinstance(made, ast.Sample):
            return ast.Sample(made.name, made.dims, made.distribution, made.annotations, True, span=self._span(at))
        return ast.Define(made.name, made.dims, made.value, made.annotations, True, span=self._span(at))

    def factor(self, at, children):
        return ast.Factor(*children, span=self._span(at))

    def left(self, at, children):
        name, dims = children
        return name, dims or ()

    def names(self, at, children):
        return tuple(children)

    def distribution(self, at, children):
        name, event, arguments = children
        return ast.Distribution(name, event or (), arguments or (), span=self._span(at))

    def annotations(self, at, children):
        return tuple(children)

    def annotation(self, at, children):
        name, arguments = children
        return ast.Annotation(name, arguments or (), span=self._span(at))

    def scan(self, at, children):
        step, dim, *body, annotations = [child for child in children if child is not None]
        return ast.Scan(step, dim, tuple(body), annotations, span=self._span(at))

    def step_sample(self, at, children):
        (name, dims), distribution, init, annotations = children
        return ast.Sample(name, dims, distribution, annotations, init=init, span=self._span(at))

    def step_define(self, at, children):
        (name, dims), value, init, annotations = children
        return ast.Define(name, dims, value, annotations, init=init, span=self._span(at))

    def infer(self, at, children):
        return ast.Infer(children[0], span=self._span(at))

    def program(self, at, children):
        stages = tuple(child for child in children if isinstance(child, ast.Call))
        for stage in stages:
            verify_options(stage)
        return stages

    def binary(self, at, children):
        left, op, right = children
        return ast.Binary(op.value, left, right, span=self._span(at))

    def unary(self, at, children):
        op, operand = children
        return ast.Unary(op.value, operand, span=self._span(at))

    def index(self, at, children):
        base, *entries = children
        return ast.Index(base, tuple(as_step(entry) for entry in entries), span=self._span(at))

    def group(self, at, children):
        return children[0]

    def call(self, at, children):
        function, arguments = children
        return ast.Call(function, arguments or (), span=self._span(at))

    def arguments(self, at, children):
        verify_arguments(children)
        return tuple(children)

    def keyword(self, at, children):
        name, value = children
        if isinstance(value, tuple):
            value = ast.NameList(value, span=span_between(value[0].span, value[-1].span))
        return ast.Keyword(name, value, span=self._span(at))

    def dim_map(self, at, children):
        return ast.DimMap(*children, span=self._span(at))

    def index_by(self, at, children):
        return ast.IndexBy(*children, span=self._span(at))

    def NAME(self, token: Token):
        return ast.Name(token.value, span=self._span(token))

    def NUMBER(self, token: Token):
        span = self._span(token)
        if set(token.value) & set(".eE"):
            if math.isinf(float(token.value)):
                fail(span, f"`{token}` is larger than any 64-bit number", "work with its logarithm, or in larger units")
            return ast.Real(float(token.value), span=span)
        if len(token) > 4000 or int(token) > LARGEST_INTEGER:
            fail(span, "this whole number does not fit in 64 bits", "write it with an exponent, as in `1e20`")
        return ast.Integer(int(token), span=span)

    def STRING(self, token: Token):
        return ast.Text(token.value[1:-1], span=self._span(token))

    def TRUE(self, token: Token):
        return ast.Bool(True, span=self._span(token))

    def FALSE(self, token: Token):
        return ast.Bool(False, span=self._span(token))


def span_between(first: Span, last: Span) -> Span:
    return Span(first.source, first.line, first.column, last.end_line, last.end_column)


def as_step(entry: ast.Expr | ast.IndexBy) -> ast.Expr | ast.IndexBy | ast.IndexStep:
    """An entry without a dim, `t` or `t - 1`, as a step of a scan; anything else is left for `verify_step_indices`."""
    match entry:
        case ast.Name():
            return ast.IndexStep(entry, 0, span=entry.span)
        case ast.Binary("+" | "-", ast.Name(), ast.Integer(offset)):
            return ast.IndexStep(entry.left, offset if entry.op == "+" else -offset, span=entry.span)
    return entry
