"""The text language's front end: good models become the right tree, wrong ones become one error that helps.

Every wrong file is tests/golden/text/NAME.ppl; NAME.txt beside it is what the user sees (`pytest --accept` rewrites
it). Each hint is followed: mechanically where it says "write `LINE`" or names a line to add, remove or move, and by
hand in NAME.fixed where it leaves something to the reader. The result must parse.
"""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.errors import Diagnostic, Source, Span
from ppl.text import ast, parse, unparse
from ppl.text.messages import follow
from ppl.text.parse import parser, terminals
from tests.examples import examples

WRONG = sorted((Path(__file__).parents[1] / "golden" / "text").glob("*.ppl"))
MODELS = sorted((Path(__file__).parent / "models").glob("*.ppl"))
NOWHERE = Span(Source("", ""), 1, 1, 1, 2)


def diagnose(text: str, file: str = "model.ppl") -> Diagnostic | None:
    try:
        parse(text, file)
    except Diagnostic as diagnostic:
        return diagnostic
    return None


def definition(text: str) -> ast.Expr:
    """The expression that `text` parses to."""
    (statement,) = parse(f"model m\na = {text}\n").statements
    return statement.value


def spanned(text: str, node: ast.Node) -> str:
    """The text that a node's span covers, on one line."""
    return text.splitlines()[node.span.line - 1][node.span.column - 1 : node.span.end_column - 1]


def read(path: Path) -> str:
    return path.read_bytes().decode()  # without any translation of line ends


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong_file_says_what_is_wrong(path, golden):
    diagnostic = diagnose(read(path), path.name)
    assert diagnostic is not None, f"{path.name} parses"
    assert (diagnostic.kind, diagnostic.span is None, bool(diagnostic.hint)) == ("syntax", False, True)
    golden(f"text/{path.stem}.txt", diagnostic.render() + "\n")


def followed(text: str, diagnostic: Diagnostic) -> str | None:
    """The text that the hint leads to, if it can be followed without thinking."""
    if written := follow(diagnostic):
        return written
    lines, number, hint = text.splitlines(), diagnostic.span.line - 1, diagnostic.hint
    if line := re.search(r"add the line `(.*?)` above this one", hint):
        return "\n".join([*lines[:number], line[1], *lines[number:]])
    if line := re.search(r"add the line `(.*?)` where the scan ends", hint):
        return "\n".join([*lines, line[1]])
    if "remove this line" in hint:
        return "\n".join([*lines[:number], *lines[number + 1 :]])
    if "move it to the end of that line" in hint:
        lines[number - 1] += "  " + lines.pop(number).strip()
        return "\n".join(lines)
    return None


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_hint_works(path):
    text, by_hand = read(path), path.with_suffix(".fixed")
    result = read(by_hand) if by_hand.exists() else followed(text, diagnose(text))
    assert result, f"{path.name} needs a file {by_hand.name} that follows its hint"
    assert diagnose(result) is None, f"following the hint gives a text that does not parse:\n{result}"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_example_model_survives_printing(path):
    model = parse(read(path), path.name)
    assert parse(unparse(model)) == model
    assert unparse(parse(unparse(model))) == unparse(model)


def test_the_parser_is_built_once_and_never_goes_back():
    """LALR(1), one look at each token: what makes parsing take milliseconds."""
    for path in MODELS:
        parse(read(path))
    assert parser.cache_info().misses == 1 and parser().options.parser == "lalr"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("-a^2", "-(a^2)"),
        ("a^b^c", "a^(b^c)"),
        ("a^-b * c", "(a^(-b)) * c"),
        ("a - b - c", "(a - b) - c"),
        ("a / b * c", "(a / b) * c"),
        ("a + b * c", "a + (b * c)"),
        ("-a * b", "(-a) * b"),
        ("not a == b and c or d", "((not (a == b)) and c) or d"),
        ("a <-1", "a < (-1)"),
        ("-x[k = z]^2", "-((x[k = z])^2)"),
        ("f(a,\n  b # why\n  )", "f(a, b)"),
        ("f(a, b,)", "f(a, b)"),
    ],
)
def test_operators_bind_as_in_mathematics(text, same):
    assert definition(text) == definition(same)
    assert definition(text) != definition("a")


def test_whole_numbers_and_reals_differ():
    assert definition("1") != definition("1.0")
    assert definition("1e2") == definition("100.")
    assert definition("true") != definition("1")


def test_every_construct_has_its_node():
    text = """model all  # every statement once
use cosmology
dim x = 9, kx = freq(x), k2 = alias(kx), obs; dim time
data n[obs]: int<lower = 0, upper = 9>, cty[obs]: index[x]
const box: real<lower = -1> = 10.0
s ~ Dirichlet[x](2.0, x -> kx, over = [x, obs])  @save(every = 100)  @nosave
generated z[obs] = s[x = cty] > 1.0
factor extra = -0.5 * log(s)
scan t in time {
  h[t] ~ Normal(h[t - 1], 1) init Normal(0, 1)  @noncentered
  u[t] = h[t] init "none"
}
infer map() >> nuts(chains = 4, dense = false, start = -1.5, keep = [s, z], method = fast, part = hmc(steps = 3))
"""
    model = parse(text)
    kinds = [type(statement).__name__ for statement in model.statements]
    assert kinds == ["Use"] + ["Dim"] * 5 + ["Data"] * 2 + ["Const", "Sample", "Define", "Factor", "Scan"]
    seen = {type(node) for node in ast.walk(model)}
    assert seen == set(all_nodes(ast.Node)) - {ast.Node}, "every class of the AST is produced"
    assert parse(unparse(model)) == model
    scan = model.statements[-1]
    assert [step.init is not None for step in scan.body] == [True, True]
    assert [(i.step.text, i.offset) for i in ast.walk(scan) if isinstance(i, ast.IndexStep)] == [("t", -1), ("t", 0)]
    assert model.statements[10].generated and not model.statements[9].generated
    assert [stage.function.text for stage in model.infer.stages] == ["map", "nuts"]
    assert str(model.infer.stages[1].arguments[2].value.operand.value) == "1.5"


def all_nodes(kind: type) -> list[type]:
    return [kind, *(below for direct in kind.__subclasses__() for below in all_nodes(direct))]


def test_spans_cover_exactly_their_text():
    text = "model m\n  eta[obs]  = (alpha)[county = cty] + (beta * floor)  # linear\n"
    (statement,) = parse(text).statements
    total = statement.value
    assert spanned(text, statement) == "eta[obs]  = (alpha)[county = cty] + (beta * floor)"
    assert spanned(text, statement.dims[0]) == "obs"
    assert spanned(text, total) == "(alpha)[county = cty] + (beta * floor)"
    assert spanned(text, total.left.base) == "alpha"
    assert spanned(text, total.left.entries[0]) == "county = cty"
    assert spanned(text, total.right) == "beta * floor"


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n", "\n  # comment; with (brackets\n", " ; \n", " ;"])
def test_statements_end_in_any_kind_of_line_end(end):
    assert parse(f"\ufeffmodel m{end}dim x{end}a = 1{end}") == parse("model m\ndim x\na = 1")


def test_no_reserved_word_can_be_a_name():
    words = {look for look in terminals().values() if look.isidentifier()}
    assert words >= {"model", "dim", "data", "const", "scan", "in", "init", "infer", "and", "or", "not", "true"}
    for word in words:
        assert diagnose(f"model m\n{word} ~ Normal(0, 1)\n"), word


def test_expressions_are_not_deeper_than_recursion_allows():
    deep = "model m\na = " + "+".join("x" * 120)
    assert parse(unparse(parse(deep))) == parse(deep)
    for text in ("(" * 5000 + "x" + ")" * 5000, "x" + "[k = z]" * 100):
        assert diagnose(f"model m\na = {text}") is None
    for text in ("-" * 5000 + "x", "+".join("x" * 5000), "f(" * 5000 + "x" + ")" * 5000, "^".join("x" * 5000)):
        assert "levels" in diagnose(f"model m\na = {text}").message


NAMES = st.sampled_from(["a", "mu", "k", "obs", "Normal", "x_1", "_", "index", "lower"]).map(
    lambda text: ast.Name(text, span=NOWHERE)
)
DIMS = st.lists(NAMES, max_size=3).map(tuple)
ATOMS = st.one_of(
    NAMES,
    st.integers(0, 2**63 - 1).map(lambda value: ast.Integer(value, span=NOWHERE)),
    st.floats(0, allow_infinity=False).map(lambda value: ast.Real(abs(value), span=NOWHERE)),
    st.booleans().map(lambda value: ast.Bool(value, span=NOWHERE)),
    st.text("ab #;([", max_size=4).map(lambda value: ast.Text(value, span=NOWHERE)),
)


def node(kind, *parts, **named):
    """A strategy for nodes of a class, from strategies for its fields."""
    return st.builds(kind, *parts, **named, span=st.just(NOWHERE))


def arguments(values):
    """Positional arguments, then keywords of different names, then dim maps."""
    keyword = node(ast.Keyword, NAMES, values | node(ast.NameList, st.lists(NAMES, min_size=1, max_size=2).map(tuple)))
    return st.tuples(
        st.lists(values, max_size=2),
        st.lists(keyword, max_size=2, unique_by=lambda k: k.name.text),
        st.lists(node(ast.DimMap, NAMES, NAMES), max_size=1),
    ).map(lambda groups: tuple(argument for group in groups for argument in group))


def compound(values):
    by_name = st.lists(node(ast.IndexBy, NAMES, values), min_size=1, max_size=2).map(tuple)
    operators = ["+", "-", "*", "/", "^", "<", "<=", ">", ">=", "==", "!=", "and", "or"]
    return st.one_of(
        node(ast.Unary, st.sampled_from(["-", "not"]), values),
        node(ast.Binary, st.sampled_from(operators), values, values),
        node(ast.Call, NAMES, arguments(values)),
        node(ast.Index, values, by_name),
    )


@st.composite
def expressions(draw, depth=3):
    return draw(compound(expressions(depth - 1)) if depth and draw(st.booleans()) else ATOMS)


EXPRESSIONS = expressions()
TYPES = st.one_of(
    node(ast.ScalarType, st.sampled_from(["real", "int"]), st.none() | EXPRESSIONS, st.none() | EXPRESSIONS),
    node(ast.ScalarType, st.sampled_from(["bool", "complex"])),
    node(ast.IndexType, NAMES),
)
ANNOTATIONS = st.lists(node(ast.Annotation, NAMES, arguments(ATOMS)), max_size=2).map(tuple)
DISTRIBUTIONS = node(ast.Distribution, NAMES, DIMS, arguments(EXPRESSIONS))
STEPS = st.lists(
    node(ast.Sample, NAMES, DIMS, DISTRIBUTIONS, ANNOTATIONS, init=st.none() | DISTRIBUTIONS)
    | node(ast.Define, NAMES, DIMS, EXPRESSIONS, ANNOTATIONS, init=st.none() | EXPRESSIONS),
    min_size=1,
    max_size=2,
).map(tuple)
SIZES = st.one_of(
    st.none(),
    st.integers(1, 99).map(lambda value: ast.Integer(value, span=NOWHERE)),
    node(ast.Derived, NAMES, st.lists(NAMES, min_size=1, max_size=2).map(tuple)),
)
STATEMENTS = st.one_of(
    node(ast.Dim, NAMES, SIZES),
    node(ast.Data, NAMES, DIMS, TYPES),
    node(ast.Const, NAMES, DIMS, TYPES, st.none() | EXPRESSIONS),
    node(ast.Sample, NAMES, DIMS, DISTRIBUTIONS, ANNOTATIONS, st.booleans()),
    node(ast.Define, NAMES, DIMS, EXPRESSIONS, ANNOTATIONS, st.booleans()),
    node(ast.Factor, NAMES, EXPRESSIONS, ANNOTATIONS),
    node(ast.Scan, NAMES, NAMES, STEPS),
)
LISTS = node(ast.NameList, st.lists(NAMES, min_size=1, max_size=2).map(tuple))


def algorithms(values):
    """Calls whose options are values by name."""
    options = st.lists(node(ast.Keyword, NAMES, values), max_size=2, unique_by=lambda k: k.name.text).map(tuple)
    return node(ast.Call, NAMES, options)


STAGES = st.lists(algorithms(ATOMS | LISTS | algorithms(ATOMS)), min_size=1, max_size=3).map(tuple)


@st.composite
def programs(draw):
    uses = st.lists(node(ast.Use, NAMES), max_size=2, unique_by=lambda use: use.name.text)
    statements = st.tuples(uses, st.lists(STATEMENTS, max_size=3)).map(lambda parts: (*parts[0], *parts[1]))
    return draw(node(ast.Model, NAMES, statements, st.none() | node(ast.Infer, STAGES)))


@given(programs())
@settings(max_examples=examples(150))
def test_what_is_printed_parses_to_the_same_tree(model):
    assert parse(unparse(model)) == model


PIECES = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "=",
    "~",
    "\n",
    ";",
    "@",
    "->",
    "<",
    "1",
    "x",
    "data",
    "init",
    "scan",
    ">>",
    '"',
]
PIECES += [
    "infer",
    "model",
    "if",
    "**",
    "//",
    "+",
    "é",
    ".",
    ":",
    " ",
    "model m\n",
    '""""',
    "in",
    "generated",
    "factor",
]


@given(st.sampled_from(MODELS), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3), st.sampled_from(PIECES))))
@settings(max_examples=examples(300))
def test_any_damage_to_a_model_parses_or_is_one_diagnostic(path, damage):
    text = read(path)
    for start, removed, piece in damage[:3]:
        text = text[:start] + piece + text[start + removed :]
    diagnostic = diagnose(text)
    if diagnostic is not None:
        assert diagnostic.span is not None and diagnostic.hint and diagnostic.render()
