"""Habits from Stan, BUGS, R, Julia and Python: what the user meant there is written so here.

Each function is a rule of `messages`: a situation in, a diagnostic or None out.
"""

from __future__ import annotations

import re

from ir.errors import Diagnostic
from ppl.text.situation import Situation, adjacent
from ppl.trace.libraries import LIBRARIES

BLOCKS = {
    "functions": "write the expression where it is used, or name it: `name = expression`",
    "data": "declare each input on a line: `data y[obs]: real`",
    "transformed data": "define each value on a line: `name[obs] = expression`",
    "parameters": "a parameter is declared by its prior: `mu ~ Normal(0, 10)`",
    "transformed parameters": "define each value on a line: `name[obs] = expression`",
    "model": "begin with `model NAME`, and write the statements below it without braces",
    "generated quantities": "mark each such statement: `generated y_rep[obs] ~ Normal(eta, sigma)`",
}
DECLARED = ("real", "int", "bool", "float", "double", "array", "vector", "row_vector", "matrix", "simplex", "ordered")
DECLARED += ("param", "params", "parameter", "var", "let", "val")
WORDS = {
    "import": ("a model file reads nothing else", "remove this line: all functions and distributions are known"),
    "from": ("a model file reads nothing else", "remove this line: all functions and distributions are known"),
    "for": (
        "there are no loops: a statement holds for every entry of its dims",
        "say it once, `y[obs] ~ Normal(eta, sigma)`; for a recurrence, `scan t in time { ... }`",
    ),
    "if": ("there is no `if` statement", "choose elementwise: `a = where(condition, b, c)`"),
    "def": ("a model file defines no functions", "define a value, `name = expression`, or write the model in Python"),
    "class": ("a model file defines no classes", "define a value, `name = expression`, or write the model in Python"),
    "return": ("a model returns nothing: every named value can be kept", "name the value: `name = expression`"),
    "print": ("a model prints nothing: every named value can be kept", "name the value: `name = expression`"),
    "with": ("there are no `with` blocks", "say the dims at the name: `y[obs] ~ Normal(eta, sigma)`"),
}
WORDS |= {"function": WORDS["def"], "using": WORDS["import"], "library": WORDS["import"], "while": WORDS["for"]}
WORDS |= {"else": WORDS["if"], "elif": WORDS["if"]}


def block_of_stan(s: Situation) -> Diagnostic | None:
    """`parameters { … }`"""
    words = []
    for token in s.sentence:
        if token.type == "LBRACE":
            break
        words.append(str(token))
    else:
        return None
    title = " ".join(words)
    if title not in BLOCKS:
        return None
    message = f"there are no blocks like `{title} {{ }}`: a model is one flat list of statements"
    return s.say(message, BLOCKS[title], s.span(s.sentence[0], s.sentence[len(words)]))


def library_of_another_language(s: Situation) -> Diagnostic | None:
    """`import cosmology`, `using cosmology`"""
    if len(s.statement) > 1 or not s.sentence or s.sentence[0] not in ("import", "from", "using", "library"):
        return None
    named = next((word for word in s.sentence[1:] if word in LIBRARIES), None)
    return named and s.say("a library is named by `use`", f"write `use {named}`", s.span(s.sentence[0]))


def word_of_another_language(s: Situation) -> Diagnostic | None:
    """`import …`, `for (…)`, `def f():`"""
    if len(s.statement) > 1 or not s.sentence or s.sentence[0] not in WORDS:
        return None
    message, hint = WORDS[s.sentence[0]]
    return s.say(message, hint, s.span(s.sentence[0]))


def docstring(s: Situation) -> Diagnostic | None:
    """A text in three double quotes."""
    if not s.at_start or s.found != '""' or (s.next is not None and not adjacent(s.found, s.next)):
        return None
    line = s.source.line(s.found.line).strip().replace('"""', "# ", 1).removesuffix('"""').rstrip()
    return s.say("a description is a comment: each of its lines begins with `#`", f"write `{line}`")


def conditional(s: Situation) -> Diagnostic | None:
    """`a if b else c`"""
    if s.found != "if" or not s.after_value:
        return None
    return s.say("there is no `a if b else c`", "`where(b, a, c)` chooses elementwise")


def double_arrow(s: Situation) -> Diagnostic | None:
    """`x => kx`"""
    if s.found.type != "MORE" or s.previous is None or s.previous.type != "EQUAL":
        return None
    line = s.replace(s.previous, s.found, "->")
    return s.say("one dim becomes another by `->`", f"write `{line}`", s.span(s.previous, s.found))


def declaration_of_stan(s: Situation) -> Diagnostic | None:
    """`real<lower = 0> sigma` or `vector[k] beta`"""
    if not s.statement or s.statement[0] not in DECLARED or s.found.type not in ("NAME", "LESS"):
        return None
    names = [token for token in s.sentence if token.type == "NAME"]
    declared = names[1] if names[0] in ("param", "params", "parameter", "var", "let", "val") else names[-1]
    sizes = [n for n, token in enumerate(s.statement) if token.type in ("LSQB", "RSQB")]
    dims = "".join(s.statement[sizes[0] : sizes[1] + 1]) if len(sizes) == 2 else ""
    message = f"a parameter is not declared by a type as in `{names[0]} {declared}`, but by its prior"
    hint = f"write `{declared}{dims} ~ Normal(0, 1)` with your prior, or `data {declared}{dims}: real` if it is data"
    return s.say(message, hint)


def target(s: Situation) -> Diagnostic | None:
    """`target += term`"""
    if [*s.statement] != ["target"] or s.found.type != "PLUS" or s.next is None or s.next.type != "EQUAL":
        return None
    message = "a term is added to the log density by a named `factor`"
    return s.say(message, f"write `{s.replace(s.statement[0], s.next, 'factor extra =')}`", s.span(s.found, s.next))


def update(s: Situation) -> Diagnostic | None:
    """`x += 1`"""
    updating = s.after_left and s.found.type in ("PLUS", "MINUS", "STAR", "SLASH")
    if not (updating and s.next and s.next.type == "EQUAL" and adjacent(s.found, s.next)):
        return None
    name = s.statement[0]
    line = s.replace(name, s.next, f"{name}_new = {name} {s.found}")
    return s.say("a name is defined once and never changes", f"write `{line}`", s.span(s.found, s.next))


def assignment_arrow(s: Situation) -> Diagnostic | None:
    """`x <- 3`, `x := 3`, `x == 3`"""
    if not s.after_left:
        return None
    if s.found.type == "SAME":
        return s.say("`==` compares; a definition is written with `=`", f"write `{s.replace(s.found, s.found, '=')}`")
    second = {"LESS": "MINUS", "COLON": "EQUAL"}.get(s.found.type)
    if second is None or s.next is None or s.next.type != second:
        return None
    line = s.replace(s.found, s.next, "=")
    return s.say("a definition is written with `=`", f"write `{line}`", s.span(s.found, s.next))


def double_star(s: Situation) -> Diagnostic | None:
    """`x ** 2`"""
    if s.found.type != "STAR" or s.previous is None or s.previous.type != "STAR":
        return None
    line = s.replace(s.previous, s.found, "^")
    return s.say("a power is written with `^`", f"write `{line}`", s.span(s.previous, s.found))


def comment(s: Situation) -> Diagnostic | None:
    """`// text`, `/* text */`"""
    first, second = s.found, s.next
    if s.previous is not None and s.previous.type == "SLASH":
        first, second = s.previous, s.found
    if first.type != "SLASH" or second is None or second.type not in ("SLASH", "STAR") or not adjacent(first, second):
        return None
    line = re.sub(r"\*/\s*$", "", s.replace(first, second, "#")).strip()
    return s.say("a comment begins with `#`", f"write `{line}`", s.span(first, second))


RULES = (
    block_of_stan,
    library_of_another_language,
    word_of_another_language,
    docstring,
    conditional,
    double_arrow,
    declaration_of_stan,
    target,
    update,
    assignment_arrow,
    double_star,
    comment,
)
