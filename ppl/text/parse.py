"""Model text to AST: the front door of the text language. Nothing in a model file is ever run.

lines ──lexer──▶ tokens ──wrapped lines joined──▶ LALR parser ──▶ tree ──build──▶ ast.Model
                                    └──▶ unexpected token ──messages.explain──▶ Diagnostic
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.lark import PostLex

from ir.errors import Source
from ppl.text import ast
from ppl.text.build import build
from ppl.text.messages import explain

GRAMMAR = Path(__file__).with_name("grammar.lark")


def parse(text: str, file: str = "<model>") -> ast.Model:
    """The AST of a model's text; `file` is the name that errors show.

    Raises `Diagnostic("syntax")` at the first mistake. Held by tests/ppl/test_text_parse.py and tests/golden/text.
    """
    source = Source(file, one_kind_of_line_end(text))
    try:
        tree = parser().parse(source.text)
    except UnexpectedInput as error:
        tokens = tokens_before_bad_character(source.text)
        raise explain(error, source, tokens, terminals(), first_error) from None
    return build(tree, source)


@cache
def parser() -> Lark:
    """The parser, built once in a process (about 0.1 s)."""
    return Lark(
        GRAMMAR.read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        postlex=DropWrappedLines(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


@cache
def terminals() -> dict[str, str]:
    """What each terminal of the grammar looks like in a file: `RPAR` is `)`."""
    return {terminal.name: terminal.pattern.value for terminal in parser().terminals}


class DropWrappedLines(PostLex):
    """Inside ( ) and [ ] a line end does not end the statement, so that long expressions can be wrapped."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for token in stream:
            if token.type in ("LPAR", "LSQB"):
                depth += 1
            elif token.type in ("RPAR", "RSQB"):
                depth = max(0, depth - 1)
            if depth and token.type == "_NL" and ";" not in token:
                continue
            yield token


def first_error(text: str) -> int | None:
    """The place, in characters from the start, where the text stops to follow the grammar; None if it does not."""
    try:
        parser().parse(text)
    except UnexpectedCharacters as error:
        return error.pos_in_stream
    except UnexpectedToken as error:
        return len(text) if error.token.type == "$END" else error.token.start_pos
    return None


def one_kind_of_line_end(text: str) -> str:
    """Every line ends in a newline, and no other character counts as a line end; columns stay as they were."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text.translate(dict.fromkeys(map(ord, "\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " "))


def tokens_before_bad_character(text: str) -> list[Token]:
    """The file's tokens, as far as its characters are ours: what the error messages look at."""
    tokens = []
    with suppress(UnexpectedCharacters):
        tokens.extend(parser().lex(text))  # extend keeps what came before the exception
    return tokens
