"""Syntax errors that teach: from where the parser stopped to one `Diagnostic` with a place, a reason and a hint.

A rule is a function that looks at the `Situation` and answers with a diagnostic or None; the first answer counts. The
rules know the mistakes that people make (`mistakes`) and the languages that they come from (`habits`); where no rule
knows better, the parser's own list of what it would have accepted is put into words.

To add a rule: write the wrong file into tests/golden/text/NAME.ppl, add the function to its module's RULES, run pytest
with --accept and read the new NAME.txt. A hint of the form "write `LINE`" is tried before it is given: if the line, put
in place of the wrong one, does not take the parser further, the user gets an example of the statement instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput

from ir.errors import Diagnostic, Source, Span
from ppl.text import characters, habits, mistakes
from ppl.text.situation import Situation

HINTED_LINE = re.compile(r"\bwrite (?:for example )?`([^`]*)`(?: in line (\d+))?")
EXAMPLE = "a statement looks like `mu[k] ~ Normal(0, 1)` or `eta[obs] = a + b * x`"
EXAMPLES = {
    "MODEL": "the first line looks like `model radon`",
    "USE": "a library is named as in `use cosmology`",
    "DIM": "dims look like `dim obs, x = 512, kx = freq(x)`",
    "DATA": "data look like `data y[obs]: real` or `data n[obs]: int<lower = 0>`",
    "CONST": "a constant looks like `const box: real<lower = 0> = 10.0`",
    "GENERATED": "a generated value looks like `generated y_rep[obs] ~ Normal(eta, sigma)`",
    "FACTOR": "a factor looks like `factor penalty = -0.5 * sum(x^2, over = k)`",
    "SCAN": "a scan begins like `scan t in time {` and ends with `}`",
    "INFER": "the last line looks like `infer nuts(draws = 1000)` or `infer map() >> nuts(draws = 1000)`",
}


def explain(
    error: UnexpectedInput,
    source: Source,
    tokens: list[Token],
    terminals: dict[str, str],
    first_error: Callable[[str], int | None],
) -> Diagnostic:
    """What to tell the user about `error`.

    `tokens` are the file's tokens, as far as its characters are legal; `first_error` says where a text stops parsing.
    """
    if isinstance(error, UnexpectedCharacters):
        diagnostic, example = characters.explain(source, error.line, error.column), characters.ADVICE
    else:
        situation = situate(error, source, tokens, terminals)
        keyword = situation.statement[0].type if situation.statement else ""
        example = EXAMPLES.get(keyword, EXAMPLE)
        message = f"expected {situation.describe_expected()}, found {situation.describe_found()}"
        answers = (rule(situation) for rule in (*mistakes.FIRST, *habits.RULES, *mistakes.RULES))
        diagnostic = next(filter(None, answers), None) or situation.say(message, example)
    if not helps(diagnostic, first_error):
        return Diagnostic("syntax", diagnostic.message, span=diagnostic.span, hint=example)
    return diagnostic


def helps(diagnostic: Diagnostic, first_error: Callable[[str], int | None]) -> bool:
    """Whether the parser gets further when the hint's line is written, if the hint gives one."""
    text = follow(diagnostic)
    if text is None:
        return True
    stop = first_error(text)
    return stop is None or len(text) - stop < remaining(diagnostic.span)


def follow(diagnostic: Diagnostic) -> str | None:
    """The file after the hint "write `LINE`", or "write `LINE` in line 5", was followed."""
    span, hinted = diagnostic.span, HINTED_LINE.search(diagnostic.hint)
    if not hinted:
        return None
    lines = span.source.text.split("\n")
    number = int(hinted[2] or span.line) - 1
    indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    return "\n".join([*lines[:number], indent + hinted[1], *lines[number + 1 :]])


def remaining(span: Span) -> int:
    """How many characters of the source follow the beginning of the span."""
    lines = span.source.text.split("\n")
    return len("\n".join(lines[span.line - 1 :])) - (span.column - 1)


def situate(error: UnexpectedInput, source: Source, tokens: list[Token], terminals: dict[str, str]) -> Situation:
    """The tokens on both sides of the error."""
    found = error.token
    number = len(tokens)
    if found.type != "$END":
        number = next(n for n, token in enumerate(tokens) if token.start_pos == found.start_pos)
    before = tuple(tokens[:number])
    if before and before[0].type == "_NL":
        before = before[1:]
    return Situation(source, before, found, tuple(tokens[number + 1 :]), frozenset(error.accepts), terminals)
