"""Reading the text of a program: a tokenizer and a recursive descent, one method a construct (see `ir.text`)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .dims import Dim, TensorType
from .errors import Diagnostic, Source, Span
from .graph import Input, Node, Program, Value
from .op import Op
from .serial import check_dtype, find_function, make_distribution, make_op, parse_span, unknown

WORD = r"[^\W\d][\w.]*"
LITERALS = {"null": None, "true": True, "false": False, "inf": math.inf, "nan": math.nan}
_STRING = r'"(?:[^"\\\n]|\\.)*"'


def parse_program(
    text: str,
    distributions: Mapping[str, Any] | None = None,
    functions: Mapping[str, Callable] | None = None,
    *,
    file: str = "program",
) -> Program:
    """Reads what `print_program` wrote; a mistake is a `Diagnostic` of kind "syntax" at its place in the text.

    `distributions` and `functions` give what the text only names (see `ir.serial`).
    """
    parser = _Parser(Source(file, text), distributions, functions)
    program = parser.program()
    parser.expect("end")
    return program


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int


_TOKEN = re.compile(
    rf"""(?P<blank>\s+|\#[^\n]*) | (?P<span>@[ ][^\n]*) | %(?P<value>[\w.]+|{_STRING}) | (?P<string>{_STRING})
    | (?P<number>-?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf\b|nan\b)) | (?P<word>{WORD}) | (?P<mark>[{{}}\[\]()=,:~&])""",
    re.VERBOSE,
)


class _Parser:
    """Recursive descent, one method a construct; one token of lookahead, two before a colon or an equals sign."""

    def __init__(self, source: Source, distributions: Mapping[str, Any] | None, functions: Mapping[str, Any] | None):
        self.source, self.distributions, self.functions = source, distributions, functions
        self.tokens = list(self._scan())
        self.at = 0

    def _scan(self):
        start, text = 0, self.source.text
        while start < len(text):
            match = _TOKEN.match(text, start)
            if match is None:
                span = self._span(_Token("", text[start], start))
                raise Diagnostic("syntax", f"unexpected {text[start]!r}", span=span)
            if match.lastgroup and match.lastgroup != "blank":
                yield _Token(match.lastgroup, match[match.lastgroup], start)
            start = match.end()
        yield _Token("end", "", start)

    def _span(self, token: _Token) -> Span:
        before = self.source.text[: token.start]
        line, column = before.count("\n") + 1, token.start - (before.rfind("\n") + 1) + 1
        return Span(self.source, line, column, line, column + max(1, len(token.text)))

    # --- tokens ---

    def peek(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def next(self) -> _Token:
        token = self.peek()
        self.at += 1
        return token

    def is_next(self, mark: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "mark" and token.text == mark

    def take(self, mark: str) -> bool:
        if not self.is_next(mark):
            return False
        self.at += 1
        return True

    def expect(self, *wanted: str) -> _Token:
        """The next token, which must be one of these marks, words or kinds."""
        token = self.next()
        if token.kind not in wanted and not (token.kind in ("mark", "word") and token.text in wanted):
            found = f"'{token.text}'" if token.text else "the end of the text"
            raise Diagnostic("syntax", f"expected {' or '.join(wanted)}, but found {found}", span=self._span(token))
        return token

    def listed(self, item: Callable[[], Any], close: str) -> list[Any]:
        """Items separated by commas, up to the closing mark."""
        items = []
        while not self.take(close):
            items.append(item())
            if not self.take(","):
                self.expect(close)
                break
        return items

    # --- constructs ---

    def name(self) -> str:
        token = self.expect("word", "string")
        return _unquote(token.text)

    def program(self) -> Program:
        self.expect("program")
        name, scope = self.name(), {}
        inputs: list[Input] = []
        nodes: list[Node] = []
        outputs: list[tuple[str, Value]] = []
        ties: dict[str, str] = {}
        self.expect("{")
        while not self.take("}"):
            token = self.peek()
            if token.kind == "value":
                nodes.append(self.node(scope))
            elif self.peek(1).kind == "value":
                role = self.expect("word").text
                inputs.append(Input(self.definition(scope), role))
            elif self.expect("output", "tie", "a node", "an input", "}").text == "tie":
                output = self.name()
                self.expect("=")
                ties[output] = self.name()
            else:
                output = self.name()
                self.expect("=")
                outputs.append((output, self.use(scope)))
        return Program(name, tuple(inputs), tuple(nodes), tuple(outputs), ties)

    def node(self, scope: dict[str, Value]) -> Node:
        types = [self.declaration()]
        while self.take(","):
            types.append(self.declaration())
        self.expect("=")
        start = self.peek()
        op = self.op(start)
        operands = []
        while self.peek().kind == "value" and not self.is_next(":", 1):
            operands.append(self.use(scope))
            if not self.take(","):
                break
        span = parse_span(self.next().text[2:].strip()) if self.peek().kind == "span" else None
        for value in types:  # a value may not be an operand of its own node
            self.define(value, scope, start)
        return Node(op, tuple(operands), tuple(types), span)

    def declaration(self) -> Value:
        name = _unquote(self.expect("value").text)
        self.expect(":")
        return Value(name, self.type())

    def definition(self, scope: dict[str, Value]) -> Value:
        token, value = self.peek(), self.declaration()
        return self.define(value, scope, token)

    def define(self, value: Value, scope: dict[str, Value], token: _Token) -> Value:
        if value.name in scope:
            raise Diagnostic("syntax", f"value %{value.name} is defined twice", span=self._span(token))
        scope[value.name] = value
        return value

    def use(self, scope: dict[str, Value]) -> Value:
        token = self.expect("value")
        name = _unquote(token.text)
        if name not in scope:
            raise unknown("value", name, scope).at(self._span(token))
        return scope[name]

    def dim(self) -> Dim:
        name = self.name()
        self.expect("=")
        return Dim(name, int(self.expect("number").text))

    def type(self) -> TensorType:
        token = self.expect("word")
        self.expect("[")
        dims = tuple(self.listed(self.dim, "]"))
        return self.placed(token, lambda: TensorType(dims, check_dtype(token.text)))

    def op(self, start: _Token) -> Op:
        name, attributes = self.name(), self.attributes()
        return self.placed(start, lambda: make_op(name, attributes))

    def attributes(self) -> dict[str, Any]:
        return dict(self.listed(self.attribute, "}")) if self.take("{") else {}

    def attribute(self) -> tuple[str, Any]:
        name = self.name()
        self.expect("=")
        return name, self.literal()

    def placed(self, token: _Token, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except Diagnostic as error:
            raise error.at(self._span(token)) from None

    def literal(self) -> Any:
        token = self.peek()
        if token.kind in ("word", "string") and self.is_next("=", 1):
            return self.dim()
        if token.kind == "word" and token.text == "program":
            return self.program()
        if token.kind == "word" and self.is_next("[", 1):
            return self.type()
        if token.kind in ("word", "string") and self.is_next("{", 1):
            return self.op(token)
        self.next()
        if token.kind == "string":
            return _unquote(token.text)
        if token.kind == "number":
            return _number(token.text)
        if token.text in LITERALS:
            return LITERALS[token.text]
        match token.text:
            case "[":
                return tuple(self.listed(self.literal, "]"))
            case "(":
                return complex(*self.listed(self.literal, ")"))
            case "{":
                return dict(self.listed(self.pair, "}"))
            case "~":
                name, attributes = self.name(), self.attributes()
                return self.placed(token, lambda: make_distribution(name, attributes, self.distributions))
            case "&":
                label = self.name()
                return self.placed(token, lambda: find_function(label, self.functions))
        raise Diagnostic("syntax", f"expected a value, but found '{token.text}'", span=self._span(token))

    def pair(self) -> tuple[Any, Any]:
        key = self.literal()
        self.expect(":")
        return key, self.literal()


def _unquote(text: str) -> str:
    return json.loads(text) if text.startswith('"') else text


def _number(text: str) -> int | float:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return math.nan if text.endswith("nan") else float(text)
