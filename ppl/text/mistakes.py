"""Mistakes in our own language: what is missing, what is too much, and what stands in the wrong place.

Each function is a rule of `messages`: a situation in, a diagnostic or None out. FIRST goes before the foreign habits,
because an open bracket confuses everything behind it. Rules about one kind of statement are in `misstatements`.
"""

from __future__ import annotations

from lark import Token

from ir.errors import Diagnostic
from ppl.text import misstatements
from ppl.text.situation import (
    BEGINS_A_STATEMENT,
    BEGINS_A_VALUE,
    CLOSER,
    END,
    ENDS_A_VALUE,
    OPENER_OF,
    OPERATORS,
    Situation,
    adjacent,
    balanced,
    open_brackets,
)


def nothing_there(s: Situation) -> Diagnostic | None:
    """A file without a statement."""
    if s.before or s.found.type != "$END":
        return None
    message = "the file holds only comments" if s.source.text.strip() else "the file is empty"
    return s.say(message, "begin with a name, `model radon`, then say how the data came about: `mu ~ Normal(0, 1)`")


def unclosed_bracket(s: Situation) -> Diagnostic | None:
    """`Normal(0, 1` at the end of a statement."""
    tokens = (*s.before, s.found)
    start = next(n for n, token in enumerate(tokens) if token.line == s.found.line or token is s.found)
    before = tokens[:start] if s.found.type not in END else s.before
    waiting = [token for token in open_brackets(before) if token.type != "LBRACE"]
    if not waiting:
        return None
    first = tokens[start]
    if s.found.type not in END and (first.line == waiting[-1].line or first.column > s.statement[0].column):
        return None
    closers = "".join(CLOSER[token.type] for token in reversed(waiting))
    opener = waiting[-1]
    hint = f"write the `{CLOSER[opener.type]}` where the list ends"
    if before[-1].type in ENDS_A_VALUE:
        hint = f"write `{s.insert_after(before[-1], closers)}`"
        hint += "" if before[-1].line == opener.line else f" in line {before[-1].line}"
    return s.say(f"this `{opener}` is never closed", hint, s.span(opener))


def wrong_closer(s: Situation) -> Diagnostic | None:
    """`mu[k = z)`, or a closing bracket that nothing opened."""
    if s.found.type not in OPENER_OF:
        return None
    if not s.open:
        line = s.replace(s.found, s.found, "")
        return s.say(
            f"nothing was opened for this `{s.found}` to close", f"write `{line}`" if line else "remove this line"
        )
    opener = s.open[-1]
    if opener.type == OPENER_OF[s.found.type]:
        return None
    if opener.type == "LBRACE":
        line = s.replace(s.found, s.found, "")
        return s.say(f"nothing was opened for this `{s.found}` to close", f"write `{line}`")
    closer = Token({"LPAR": "RPAR", "LSQB": "RSQB"}[opener.type], CLOSER[opener.type])
    forgotten = balanced((*s.statement, closer, *s.sentence[len(s.statement) :]))
    hint = f"write `{s.insert_before(s.found, closer) if forgotten else s.replace(s.found, s.found, closer)}`"
    return s.say(f"this `{s.found}` comes before the `{opener}` in column {opener.column} is closed", hint)


def unclosed_scan(s: Situation) -> Diagnostic | None:
    """The end of the file, or a statement that cannot be in a scan, before the scan's `}`."""
    if not s.in_scan or (s.statement and s.found.type != "$END"):
        return None
    opener = s.open[-1]
    if s.found.type == "$END":
        return s.say("this `{` is never closed", "add the line `}` where the scan ends", s.span(opener))
    if s.found.type not in BEGINS_A_STATEMENT or (s.next and s.next.type in ("TILDE", "EQUAL", "LSQB")):
        return None
    message = f"`{s.found}` cannot stand inside the scan that begins in line {opener.line}: there, only `~` and `=` can"
    return s.say(message, "add the line `}` above this one to end the scan, or move this statement before the scan")


def reserved_word(s: Situation) -> Diagnostic | None:
    """`data ~ Normal(0, 1)`, `Normal(in, 1)`"""
    names_something = ("TILDE", "EQUAL", "LSQB")
    if len(s.statement) == 1 and s.is_reserved(s.statement[0]) and s.found.type in names_something:
        word = s.statement[0]
    elif s.is_reserved(s.found) and s.found.type not in ("AND", "OR", "NOT") and "NAME" in s.expected:
        word = s.found
        if s.at_start and (s.next is None or s.next.type not in names_something):
            return None
    else:
        return None
    hint = f"choose another name, for example: write `{s.replace(word, word, word + '_')}`"
    return s.say(f"`{word}` is a reserved word and cannot be a name", hint, s.span(word))


def line_that_goes_on(s: Situation) -> Diagnostic | None:
    """An expression broken over two lines without brackets."""
    if s.at_start and s.found.type in OPERATORS and s.before:
        message = f"a statement cannot begin with `{s.found}`"
        return s.say(message, "to go on over several lines, put the expression in ( ): `a = (b`, then `+ c)`")
    if s.expects_value and s.found.type in END and s.previous and s.previous.type in OPERATORS:
        message = f"the line ends after `{s.previous}`, in the middle of an expression"
        return s.say(message, "to go on over several lines, put the expression in ( ): `a = (b +`, then `c)`")
    if s.previous is not None and s.previous.type == "COMMA" and s.found.type in END:
        keyword = s.statement[0]
        return s.say("the line ends after a comma", f"end it before the comma, and begin the next with `{keyword}` too")
    return None


def comparison_chain(s: Situation) -> Diagnostic | None:
    """`a < b < c`"""
    comparisons = OPERATORS[2:8]
    if (
        s.found.type not in comparisons
        or s.statement[0].type in ("DATA", "CONST")
        or not any(token.type in comparisons for token in s.statement)
    ):
        return None
    return s.say("comparisons do not chain", "join two of them: `0 < a and a < 1`")


def positions_on_the_left(s: Situation) -> Diagnostic | None:
    """`mu[1] ~ …`, `mu[] ~ …`"""
    if not s.open or s.open[-1].type != "LSQB" or s.expected != {"NAME"} or begins_a_list(s):
        return None
    if s.found.type == "RSQB" and s.previous.type == "LSQB":
        line = s.replace(s.previous, s.found, "")
        return s.say("these brackets name no dim", f"write `{line}`", s.span(s.previous, s.found))
    if s.found.type != "NUMBER":
        return None
    message = "brackets here hold the names of dims, not sizes or positions"
    line = s.replace(s.found, s.found, "k")
    return s.say(message, f"write `{line}`, with `dim k = {s.found}` above for a dim of that size")


def slice(s: Situation) -> Diagnostic | None:
    """`x[1:3]`, `x[:, k]`"""
    if s.found.type != "COLON" or not s.open or s.open[-1].type != "LSQB":
        return None
    return s.say("there are no slices", "a value brings its dims with it; pick entries with `x[k = i]`")


def list_of_values(s: Situation) -> Diagnostic | None:
    """`x = [1, 2, 3]`"""
    if s.found.type == "LSQB" and s.expects_value:
        message = "a list cannot be a value: its entries would have no named dim"
        return s.say(message, "declare it, `data x[k]: real`, and give the numbers with the data")
    if s.found.type in ("NUMBER", "STRING", "RSQB") and s.expected == {"NAME"} and begins_a_list(s):
        return s.say("a list holds names, at least one", "write the names of dims or values, as in `over = [k, j]`")
    return None


def begins_a_list(s: Situation) -> bool:
    """We are behind `over = [`."""
    if not s.open:
        return False
    number = s.before.index(s.open[-1])
    return number > 0 and s.before[number - 1].type == "EQUAL"


def missing_operand(s: Situation) -> Diagnostic | None:
    """`Normal(0, , 1)`, `2 * / 3`, `f(a +)`"""
    if not s.expects_value or s.previous is None or s.found.type in END:
        return None
    if s.previous.type in OPERATORS:
        line = s.replace(s.previous, s.previous, "")
        return s.say(f"`{s.previous}` has nothing on its right", f"write `{line}`, or the missing value")
    if s.previous.type in ("LPAR", "COMMA") and s.found.type == "COMMA":
        line = s.replace(s.found, s.found, "")
        return s.say("there is no argument before this `,`", f"write `{line}`, or the missing argument")
    return None


def bound_and_equal_sign(s: Situation) -> Diagnostic | None:
    """`real<lower = 0>= 10`"""
    if s.found.type != "MORE_EQUAL" or "MORE" not in s.expected or "MORE_EQUAL" in s.expected:
        return None
    line = s.replace(s.found, s.found, "> =")
    return s.say("`>=` reads as one sign here", f"write `{line}`")


def side_by_side(s: Situation) -> Diagnostic | None:
    """`2x`, `Normal(0 1)`, `dim a b`: an operator or a comma is missing."""
    if s.previous is None or s.found.type not in BEGINS_A_VALUE or s.previous.type not in ENDS_A_VALUE:
        return None
    in_list = "COMMA" in s.expected
    if s.previous.type == "NUMBER" and s.found.startswith("_") and s.found[1:].isdigit():
        line = s.replace(s.previous, s.found, s.previous + s.found.replace("_", ""))
        return s.say("digits are not grouped", f"write `{line}`")
    if s.after_value and (not in_list or adjacent(s.previous, s.found)):
        hint = f"write `{s.replace(s.found, s.found, (' * ' if s.found.column > 1 else '') + s.found)}`"
        if not adjacent(s.previous, s.found):
            hint = f"write `{s.insert_after(s.previous, ' *')}` if a product is meant"
        return s.say(f"an operator is missing between `{s.previous}` and `{s.found}`", hint)
    if in_list:
        hint = f"write `{s.insert_after(s.previous, ',')}`"
        return s.say(f"a comma is missing between `{s.previous}` and `{s.found}`", hint)
    return None


def second_equal_sign(s: Situation) -> Diagnostic | None:
    """`a = b = 3`, `a = b ~ Normal(0, 1)`, `f(x) = 3`"""
    if not s.after_value or s.found.type not in ("EQUAL", "TILDE") or (s.open and s.open[-1].type != "LBRACE"):
        return None
    if not any(token.type == "EQUAL" for token in s.statement):
        return None
    return s.say(f"a statement has one `=` or `~`; this `{s.found}` is the second", "write two statements on two lines")


def stray_text(s: Situation) -> Diagnostic | None:
    """Anything after a complete statement."""
    if "_NL" not in s.expected or s.found.type in END or s.at_start:
        return None
    if s.found.type in OPERATORS and not s.after_value:
        message = "a distribution is the whole right side of `~`; it cannot be part of an expression"
        return s.say(message, "sample first, `z ~ Normal(0, 1)`, then calculate on a line of its own, `y = z + 3`")
    if s.found.type == "COMMA":
        return s.say("this `,` follows a complete statement", "write one statement a line")
    hint = "a statement ends with its line: write what follows on a line of its own"
    return s.say(f"{s.describe_found()} follows a complete statement", hint)


FIRST = (nothing_there, unclosed_bracket)
RULES = (
    *misstatements.RULES,
    unclosed_scan,
    wrong_closer,
    reserved_word,
    line_that_goes_on,
    bound_and_equal_sign,
    comparison_chain,
    positions_on_the_left,
    slice,
    list_of_values,
    side_by_side,
    missing_operand,
    second_equal_sign,
    stray_text,
)
