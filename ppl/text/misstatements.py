"""Mistakes that belong to one kind of statement: model, dim, data, `~`, `=`, factor, scan, infer, annotations.

Each function is a rule of `messages`: a situation in, a diagnostic or None out.
"""

from __future__ import annotations

import re

from ir.errors import Diagnostic
from ppl.text.situation import BEGINS_A_STATEMENT, END, ENDS_A_VALUE, Situation

TYPES = ("real", "int", "bool", "complex", "index")


def model_line(s: Situation) -> Diagnostic | None:
    """The first line is missing, comes twice, or has no proper name."""
    if not s.before and s.found.type != "MODEL":
        return s.say("a model file begins with its name", "add the line `model radon` above this one, with your name")
    if s.at_start and s.found.type == "MODEL" and s.before:
        return s.say("this is the second `model` line: a file holds one model", "remove this line")
    if not s.statement or s.statement[0].type != "MODEL" or s.is_reserved(s.found):
        return None
    written = s.source.line(s.statement[0].line).partition("#")[0].strip().removeprefix("model")
    name = re.sub(r"\W+", "_", written, flags=re.ASCII).strip("_")
    if not name:
        return s.say("the model has no name", "write `model radon` with your name")
    name = f"model_{name}" if name[0].isdigit() else name
    return s.say("a model's name is one word of letters, digits and `_`", f"write `model {name}`")


def dim_size(s: Situation) -> Diagnostic | None:
    """`dim k 3`, `dim k: 3`, `dim k = n`"""
    if not s.statement or s.statement[0].type != "DIM" or s.previous is None:
        return None
    if s.found.type in ("NUMBER", "COLON") and "EQUAL" in s.expected:
        line = s.insert_after(s.previous, " =") if s.found.type == "NUMBER" else s.replace(s.found, s.found, " =")
        return s.say("the size of a dim follows an `=`", f"write `{line}`")
    if s.found.type in (*END, "COMMA") and s.expected == {"LPAR"}:
        message = f"the size of a dim is a number or a rule such as `freq(x)`, not the name `{s.previous}`"
        name = s.statement[-3]
        line = s.replace(name, s.previous, name)
        hint = f"write `{line}`: the size then comes from the data or from `--set {name}=...`"
        return s.say(message, hint, s.span(s.previous))
    return None


def declaration_without_type(s: Situation) -> Diagnostic | None:
    """`data y[obs]`, `data real y`, `data y[obs] ~ …`, `const box = 10`"""
    if not s.statement or s.statement[0].type not in ("DATA", "CONST"):
        return None
    keyword = s.statement[0]
    after_colon = s.previous is not None and s.previous.type == "COLON"
    if "COLON" not in s.expected and not (after_colon and s.found.type in (*END, "COMMA", "EQUAL", "LESS")):
        return value_for_data(s)
    if s.found.type == "NAME" and s.previous in TYPES:
        line = s.replace(s.previous, s.found, f"{s.found}: {s.previous}")
        return s.say("the type follows the name, after a `:`", f"write `{line}`")
    if s.found.type == "TILDE":
        name = "".join(s.statement[1:])
        message = f"a `{keyword}` line declares a name and its type; what is observed about it is a second statement"
        return s.say(message, f"declare it on one line, `{keyword} {name}: real`, and say `{name} ~ ...` on the next")
    if s.found.type == "EQUAL" and keyword.type == "DATA":
        return s.say("data have no value in the model file", "declare them, `data y[obs]: real`, or use `const`")
    missing = " real" if after_colon else ": real"
    hint = f"write `{s.insert_after(s.previous, missing)}`, or with int, bool, ..."
    return s.say(f"this `{keyword}` declaration has no type", hint)


def value_for_data(s: Situation) -> Diagnostic | None:
    """`data y: real = 3`"""
    if s.statement[0].type != "DATA" or s.found.type != "EQUAL" or "_NL" not in s.expected:
        return None
    line = s.replace(s.statement[0], s.statement[0], "const")
    return s.say("data have no value in the model file", f"write `{line}` for a value that the model knows")


def type_without_keyword(s: Situation) -> Diagnostic | None:
    """`y[obs]: real`"""
    if not s.after_left or s.found.type != "COLON":
        return None
    line = s.replace(s.statement[0], s.statement[0], f"data {s.statement[0]}")
    return s.say("a declaration begins with `data` or `const`", f"write `{line}`")


def no_right_side(s: Situation) -> Diagnostic | None:
    """`mu ~`, `mu =`, `mu ~ 3`, `mu ~ Normal`, `mu ~ a + b`"""
    if s.previous is None or not s.statement:
        return None
    if s.previous.type == "EQUAL" and s.found.type in END and s.expects_value:
        message = "this `=` has no right side"
        return s.say(message, "write the expression on this line; inside ( ) it may go on over several lines")
    if s.previous.type == "TILDE" and s.found.type in END:
        line = s.insert_after(s.previous, " Normal(0, 1)")
        return s.say("this `~` has no distribution", f"write for example `{line}`")
    if s.previous.type == "TILDE" and not s.is_reserved(s.found):
        line = s.replace(s.previous, s.previous, "=")
        message = f"`~` is followed by a distribution such as `Normal(0, 1)`, not by {s.describe_found()}"
        return s.say(message, f"write `{line}` if a definition is meant")
    if "LPAR" not in s.expected or s.expects_value or s.after_value:
        return None
    if not any(token.type == "TILDE" for token in s.statement):
        return None
    if s.found.type in (*END, "AT", "INIT"):
        line = s.insert_after(s.previous, "(0, 1)")
        hint = f"write for example `{line}`"
        return s.say("a distribution has its arguments in ( )", hint, s.span(s.previous))
    tilde = next(token for token in s.statement if token.type == "TILDE")
    message = f"`~` is followed by one distribution, such as `Normal(0, 1)`; found {s.describe_found()}"
    return s.say(message, f"write `{s.replace(tilde, tilde, '=')}` if a definition is meant")


def neither_sign(s: Situation) -> Diagnostic | None:
    """`mu`, `Normal(0, 1)`, `3`, `"text"`: a statement without `~` or `=`."""
    if s.at_start and s.found.type in ("NUMBER", "STRING", "LPAR", "TRUE", "FALSE", "LSQB"):
        message = f"a statement cannot begin with {s.describe_found()}"
        return s.say(message, "give the value a name: `name = expression`")
    if not s.after_left:
        return None
    if s.found.type == "LPAR":
        name = s.statement[0]
        if line := with_dims_in_brackets(s):
            return s.say("on the left stands a name, with its dims in [ ]", f"write `{line}` if these are dims")
        written = s.replace(name, name, name)
        meant = f"mu ~ {written}" if name[0].isupper() else f"value = {written}"
        return s.say("this value has no name", f"write `{meant}` with your name on the left", s.span(name))
    if s.found.type in END:
        line = s.insert_after(s.previous, " ~ Normal(0, 1)")
        place = s.span(s.statement[0], s.previous)
        return s.say(f"nothing is said about `{s.statement[0]}`", f"write for example `{line}`", place)
    return None


def with_dims_in_brackets(s: Situation) -> str | None:
    """For `y(obs) ~ …`, found at its parenthesis: the line with `y[obs]`."""
    closing = next((n for n, token in enumerate(s.after) if token.type == "RPAR"), None)
    if closing is None or not closing + 1 < len(s.after) or s.after[closing + 1].type not in ("EQUAL", "TILDE"):
        return None
    inside = s.after[:closing]
    if not inside or any(token.type not in ("NAME", "COMMA") for token in inside):
        return None
    return s.replace(s.found, s.after[closing], f"[{''.join(inside).replace(',', ', ')}]")


def generated(s: Situation) -> Diagnostic | None:
    """`generated dim x`"""
    if [token.type for token in s.statement] != ["GENERATED"] or s.found.type not in BEGINS_A_STATEMENT:
        return None
    line = s.replace(s.statement[0], s.found, str(s.found))
    return s.say("`generated` marks a statement with `~` or `=`, nothing else", f"write `{line}`")


def factor(s: Situation) -> Diagnostic | None:
    """`factor log(x)`, `factor ll[obs] = …`, `factor ll ~ …`"""
    if not s.statement or s.statement[0].type != "FACTOR":
        return None
    if s.found.type == "LSQB" and s.expected == {"EQUAL"}:
        message = "a factor is one number, so it has no dims"
        return s.say(message, f"sum the terms: `factor {s.previous} = sum(..., over = {s.next})`")
    if s.expected == {"EQUAL"} or (s.expected == {"NAME"} and s.found.type not in END and not s.is_reserved(s.found)):
        if s.found.type in ("TILDE", *END):
            return s.say("a factor is a name, `=` and an expression", "give it an expression: `factor extra = ...`")
        line = s.replace(s.statement[0], s.statement[0], "factor extra =")
        return s.say("a factor has a name", f"write `{line}` with your name for `extra`")
    return None


def scan(s: Situation) -> Diagnostic | None:
    """`scan t time {`, `scan t in time` and nothing, `scan t in time { }`"""
    if s.at_start and s.found.type == "RBRACE" and s.expected == {"NAME"}:
        hint = "say inside what a step is, as in `h[t] ~ Normal(h[t - 1], 1)  init Normal(0, 1)`"
        return s.say("this scan is empty", hint)
    if not s.statement or s.statement[0].type != "SCAN":
        return None
    if s.expected == {"IN"} and s.found.type == "NAME":
        return s.say("`in` is missing", f"write `{s.insert_after(s.previous, ' in')}`")
    if s.expected == {"LBRACE"} and s.found.type in END:
        message = "the steps of a scan stand in braces, and the first brace on this line"
        return s.say(message, "end this line with `{`, and the scan with a line `}`")
    if s.expected <= {"NAME", "IN"} and not s.is_reserved(s.found):
        return s.say("a scan names its step and its dim", "write `scan t in time {` with your names for `t` and `time`")
    return None


def init(s: Situation) -> Diagnostic | None:
    """`init` outside a scan, or on a line of its own."""
    if s.found.type != "INIT":
        return None
    if any(token.type == "INIT" for token in s.statement):
        return s.say("this is the second `init` of the statement", "remove one of the two")
    if any(token.type == "AT" for token in s.statement):
        return s.say("`init` stands before the annotations", "move the annotations to the end of the line")
    if s.at_start:
        return s.say("`init` stands on the line of the statement that it begins", "move it to the end of that line")
    if not s.in_scan and s.previous is not None and s.previous.type in ENDS_A_VALUE and "_NL" in s.expected:
        message = "`init` gives the first entry of a recurrence, and stands only inside a scan"
        return s.say(message, "wrap the statement: `scan t in time {`, the statement, `}`")
    return None


def annotation(s: Situation) -> Diagnostic | None:
    """`@noncentered` on a line of its own, or `@` alone."""
    if s.at_start and s.found.type == "AT":
        return s.say("an annotation stands on the line of its statement", "move it to the end of that line")
    if s.previous is not None and s.previous.type == "AT" and s.found.type in END:
        line = s.insert_after(s.previous, "noncentered")
        return s.say("this annotation has no name", f"write for example `{line}`")
    return None


def infer(s: Situation) -> Diagnostic | None:
    """`infer nuts`, `infer map() > nuts()`, `infer map() >>`, or a statement after `infer`."""
    if any(token.type == "INFER" for token in s.before) and s.at_start:
        if s.found.type == "THEN":
            return s.say("a program is written on one line", "move this line to the end of the one above")
        message = "`infer` is the last statement of a file"
        return s.say(message, "remove this line, or move it above the `infer` line")
    if not s.statement or s.statement[0].type != "INFER" or s.previous is None:
        return None
    if s.expected == {"LPAR"}:
        whose = "infer" if len(s.statement) == 2 else s.previous
        return s.say(f"the options of `{whose}` stand in ( )", f"write `{s.insert_after(s.previous, '()')}`")
    if s.expected == {"NAME"}:
        return _no_algorithm(s)
    if s.found.type == "THEN" and s.open:
        message = "`>>` joins the stages of a whole program; a part of one has a single algorithm"
        return s.say(message, "close the brackets before it, or choose one of the two")
    if "THEN" in s.expected and s.found.type not in END:
        return _not_joined(s)
    return None


def _no_algorithm(s: Situation) -> Diagnostic | None:
    """Where the name of an algorithm should stand."""
    assert s.previous is not None
    if s.found.type == "THEN":
        line = s.replace(s.found, s.found, "")
        return s.say("there is no algorithm before this `>>`", f"write `{' '.join(line.split())}`")
    if s.found.type not in END:
        return None
    if s.previous.type == "THEN":
        line = s.replace(s.previous, s.previous, "").rstrip()
        return s.say("no algorithm follows this `>>`", f"write `{line} >> nuts()`", s.span(s.previous))
    return s.say("`infer` names no sampler", "write `infer nuts()`")


def _not_joined(s: Situation) -> Diagnostic | None:
    """`map() > nuts()`, `map() | nuts()`, `map(), nuts()`, `map() nuts()`"""
    if s.found.type == "NAME":
        return s.say("the stages of a program are joined with `>>`", f"write `{s.insert_before(s.found, '>> ')}`")
    if s.found.type in ("MORE", "MORE_EQUAL", "PLUS", "COMMA", "ARROW", "AND"):
        line = s.replace(s.found, s.found, " >>" if s.found.type == "COMMA" else ">>")
        return s.say("the stages of a program are joined with `>>`", f"write `{line}`")
    return None


RULES = (
    model_line,
    dim_size,
    declaration_without_type,
    type_without_keyword,
    init,
    no_right_side,
    neither_sign,
    generated,
    factor,
    scan,
    annotation,
    infer,
)
