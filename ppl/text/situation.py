"""Where the parser stopped: the tokens on both sides, what would have been accepted, and the words to say it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from lark import Token

from ir.errors import Diagnostic, Source, Span

CLOSER = {"LPAR": ")", "LSQB": "]", "LBRACE": "}"}
OPENER_OF = {"RPAR": "LPAR", "RSQB": "LSQB", "RBRACE": "LBRACE"}
END = ("_NL", "$END")
ENDS_A_VALUE = ("NAME", "NUMBER", "STRING", "TRUE", "FALSE", "RPAR", "RSQB")
BEGINS_A_VALUE = ("NAME", "NUMBER", "STRING", "TRUE", "FALSE", "LPAR")
BEGINS_A_STATEMENT = ("USE", "DIM", "DATA", "CONST", "GENERATED", "FACTOR", "SCAN", "INFER", "MODEL")
OPERATORS = ("OR", "AND", "LESS", "LESS_EQUAL", "MORE", "MORE_EQUAL", "SAME", "DIFFERENT")
OPERATORS += ("PLUS", "MINUS", "STAR", "SLASH", "CARET")


@dataclass(frozen=True)
class Situation:
    """The place of a syntax error; `terminals` says what a terminal looks like in a file."""

    source: Source
    before: tuple[Token, ...]
    found: Token
    after: tuple[Token, ...]
    expected: frozenset[str]
    terminals: dict[str, str]

    @cached_property
    def statement(self) -> tuple[Token, ...]:
        """The tokens of the broken statement that were accepted."""
        for number in range(len(self.before), 0, -1):
            if self.before[number - 1].type in ("_NL", "LBRACE"):
                return self.before[number:]
        return self.before

    @cached_property
    def sentence(self) -> tuple[Token, ...]:
        """The whole broken statement: what was accepted, what was found, and what follows up to the end of the line."""
        rest = (self.found, *self.after)
        end = next((n for n, token in enumerate(rest) if token.type in END), len(rest))
        return self.statement + rest[:end]

    @property
    def previous(self) -> Token | None:
        return self.before[-1] if self.before else None

    @property
    def next(self) -> Token | None:
        return self.after[0] if self.after else None

    @property
    def at_start(self) -> bool:
        """The first token of a statement is the one that is wrong."""
        return not self.statement

    @property
    def open(self) -> list[Token]:
        return open_brackets(self.before)

    @property
    def in_scan(self) -> bool:
        return any(token.type == "LBRACE" for token in self.open)

    @property
    def expects_value(self) -> bool:
        """An expression must begin here."""
        return {"NUMBER", "MINUS", "LPAR"} <= self.expected and "PLUS" not in self.expected

    @property
    def after_value(self) -> bool:
        """An expression could go on or end here."""
        return "PLUS" in self.expected

    @property
    def after_left(self) -> bool:
        """`mu` or `mu[k]` stands before, and `~` or `=` should follow."""
        return {"TILDE", "EQUAL"} <= self.expected

    @property
    def place(self) -> Span:
        """The token that was found; for the end of a line or of the file, the place just after the last token."""
        if self.found.type not in END:
            return self.span(self.found)
        if self.previous is None:
            return Span(self.source, 1, 1, 1, 2)
        line, column = self.previous.end_line, self.previous.end_column
        return Span(self.source, line, column, line, column + 1)

    def span(self, first: Token, last: Token | None = None) -> Span:
        last = last or first
        return Span(self.source, first.line, first.column, last.end_line, last.end_column)

    def is_reserved(self, token: Token) -> bool:
        return token.type != "NAME" and token.isidentifier()

    def replace(self, first: Token, last: Token, text: str) -> str:
        """The line of `first`, with the range from `first` to `last` replaced by `text`."""
        before, after = self.source.line(first.line), self.source.line(last.end_line)
        return (before[: first.column - 1] + text + after[last.end_column - 1 :]).strip().rstrip(";")

    def insert_after(self, token: Token, text: str) -> str:
        line = self.source.line(token.end_line)
        return (line[: token.end_column - 1] + text + line[token.end_column - 1 :]).strip()

    def insert_before(self, token: Token, text: str) -> str:
        return self.replace(token, token, text + token)

    def say(self, message: str, hint: str | None, at: Span | None = None) -> Diagnostic:
        return Diagnostic("syntax", message, span=at or self.place, hint=hint)

    def describe_found(self) -> str:
        return self.describe(self.found)

    def describe(self, token: Token) -> str:
        if token.type == "$END":
            return "the end of the file"
        if token.type == "_NL":
            return "`;`" if token.lstrip().startswith(";") else "the end of the line"
        if self.is_reserved(token):
            return f"the reserved word `{token}`"
        kinds = {"NAME": "the name ", "NUMBER": "the number ", "STRING": "the string "}
        return f"{kinds.get(token.type, '')}`{token}`"

    def describe_expected(self) -> str:
        """What would have been accepted, in words: `an operator, "," or ")"`."""
        rest, parts = set(self.expected), []
        for needed, words, covered in GROUPS:
            if set(needed) <= rest:
                parts.append(words)
                rest -= set(covered)
        parts += sorted(f"`{self.terminals.get(name, name)}`" for name in rest)
        if len(parts) < 2:
            return "".join(parts) or "nothing more"
        return ", ".join(parts[:-1]) + " or " + parts[-1]


# Terminals that are one idea to a reader: those that must be there, the words, those that the words cover.
GROUPS = (
    (("PLUS", "STAR"), "an operator", (*OPERATORS, "LPAR", "LSQB", "NOT")),
    (("NUMBER", "LPAR", "MINUS"), "an expression", (*BEGINS_A_VALUE, "MINUS", "NOT")),
    (("NUMBER", "LPAR"), "an expression", BEGINS_A_VALUE),
    (("DIM", "SCAN"), "a statement", (*BEGINS_A_STATEMENT, "NAME", "_NL", "$END")),
    (("NAME",), "a name", ("NAME",)),
    (("NUMBER",), "a number", ("NUMBER",)),
    (("AT",), "an annotation", ("AT",)),
    (("_NL",), "the end of the line", END),
    (("$END",), "the end of the file", END),
)


def open_brackets(tokens: tuple[Token, ...]) -> list[Token]:
    """The brackets that are opened and not closed by these tokens, outermost first."""
    waiting: list[Token] = []
    for token in tokens:
        if token.type in CLOSER:
            waiting.append(token)
        elif token.type in OPENER_OF and waiting:
            waiting.pop()
    return waiting


def balanced(tokens: tuple[Token, ...]) -> bool:
    """Every bracket closes the one that was opened last, and none stays open."""
    waiting: list[Token] = []
    for token in tokens:
        if token.type in CLOSER:
            waiting.append(token)
        elif token.type in OPENER_OF and (not waiting or waiting.pop().type != OPENER_OF[token.type]):
            return False
    return not waiting


def adjacent(first: Token | None, second: Token | None) -> bool:
    """The two tokens touch, so that the writer meant one sign."""
    return bool(first and second) and first.end_pos == second.start_pos
