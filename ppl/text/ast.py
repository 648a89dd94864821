"""What a model file says, as data: the output of `parse`, the input of the translation to IR and of `unparse`.

The set is closed; a consumer that matches on these classes has covered the language:

    Model        the file                     model radon …
    Use          a library               use cosmology
    Dim          one dim                      dim x = 512         dim kx = freq(x)        dim obs
      Derived      a size from another dim          freq(x)
    Data         one declared input           data y[obs]: real<lower = 0>
    Const        one declared constant        const box: real = 10.0
      ScalarType   real, int, bool, complex     IndexType   index[county]
    Sample       a random variable            [generated] mu[k] ~ Normal(0, 1) [init …] @noncentered
      Distribution                              Dirichlet[k](2.0)
      Annotation                                @save(every = 100)
    Define       a named value                [generated] eta[obs] = … [init …] @nosave
    Factor       a term of the log density    factor name = …
    Scan         a recurrence along a dim     scan t in time { … }
    Infer        what to run, in stages       infer map() >> nuts(chains = 4)

    expressions  Integer Real Bool Text Name Unary Binary Call Index
    arguments    an expression, Keyword (over = k, whose value may be a NameList) or DimMap (x -> kx)
    indices      IndexBy (county = cty) or IndexStep (t - 1)

Every node has a `span`, the exact range of text it came from (`mu[k]` of `(mu[k])`, without the parentheses); spans
take no part in `==` and `hash`, so two texts of one model have equal trees. Every name is a `Name` node, so that an
error can point at the one dim of a list that is wrong. `dim a, b` is two `Dim`s, `data a: …, b: …` two `Data`s.

What the parser promises about a tree:
- the type of a `ScalarType` is one of `SCALARS`, bounds stand on real and int only, a `Dim` size is at least 1;
- an `Integer` fits in 64 bits, a `Real` is finite, both are non-negative (a minus sign is a `Unary`);
- no positional argument follows a `Keyword`, no keyword is given twice;
- a `Use` stands before all other statements, and none twice;
- an `IndexStep` names the step of the `Scan` that it stands in, and stands nowhere else; `init` is in a scan only;
- a stage of `Infer` is a Call whose arguments are Keywords; their values are literals (Integer, Real, Bool, Text, Name,
  a minus and a number, or a NameList) or Calls of the same kind;
- expressions are at most `MAX_DEPTH` deep, so that recursive functions over them are safe.

What it leaves to the translation, which knows the dims and the signatures: whether a name is declared, declared twice
or used before it is defined; dims on the two sides of a statement; which functions, distributions, annotations and
samplers exist and which arguments they take; whether a step variable of a scan has the step among its dims and an
`init` when it is read at `t - 1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from ir.errors import Span

SCALARS = ("real", "int", "bool", "complex")
MAX_DEPTH = 150


@dataclass(frozen=True)
class Node:
    """Anything with a place in the text."""

    span: Span = field(kw_only=True, compare=False, repr=False)


@dataclass(frozen=True)
class Name(Node):
    """An identifier: the name of a value, dim, function or option; as an expression, the value of that name."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Integer(Node):
    """A whole number without point or exponent: `4`."""

    value: int


@dataclass(frozen=True)
class Real(Node):
    """A number with a point or an exponent: `1.0`, `1e-4`."""

    value: float


@dataclass(frozen=True)
class Bool(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class Text(Node):
    """A string in double quotes; there are no escapes."""

    value: str


@dataclass(frozen=True)
class Unary(Node):
    """`-operand` or `not operand`."""

    op: str
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    """`left op right`, op one of + - * / ^ < <= > >= == != and or. Comparisons do not chain."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class NameList(Node):
    """`[k, j]`: only as the value of a keyword."""

    names: tuple[Name, ...]


@dataclass(frozen=True)
class Keyword(Node):
    """`name = value` among arguments."""

    name: Name
    value: Expr | NameList


@dataclass(frozen=True)
class DimMap(Node):
    """`x -> kx` among arguments: the operand's dim `x` becomes the result's dim `kx`."""

    source: Name
    target: Name


@dataclass(frozen=True)
class Call(Node):
    """`function(arguments)`; a distribution inside an expression is a call as well."""

    function: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class IndexBy(Node):
    """`dim = value` in an index: along `dim`, take the entries that `value` (a number or an index tensor) says."""

    dim: Name
    value: Expr


@dataclass(frozen=True)
class IndexStep(Node):
    """`t`, `t - 1` or `t + 1` in an index inside a scan: along the scan's dim, the entry at `step + offset`."""

    step: Name
    offset: int


@dataclass(frozen=True)
class Index(Node):
    """`base[entries]`."""

    base: Expr
    entries: tuple[IndexBy | IndexStep, ...]


@dataclass(frozen=True)
class Distribution(Node):
    """`Name[event dims](arguments)`, the right side of `~`."""

    name: Name
    event: tuple[Name, ...]
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Annotation(Node):
    """`@name` or `@name(arguments)` at the end of a statement."""

    name: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class ScalarType(Node):
    """`real<lower = a, upper = b>`; a bound that is not given is None."""

    name: str
    lower: Expr | None = None
    upper: Expr | None = None


@dataclass(frozen=True)
class IndexType(Node):
    """`index[dim]`: whole numbers that point into `dim`."""

    dim: Name


@dataclass(frozen=True)
class Use(Node):
    """`use name`: the functions of a library are known below."""

    name: Name


@dataclass(frozen=True)
class Derived(Node):
    """`rule(arguments)`: the size of a dim that follows from other dims, as `freq(x)` or `alias(k)`."""

    rule: Name
    arguments: tuple[Name | Integer, ...]


@dataclass(frozen=True)
class Dim(Node):
    """`dim name = size`; size None: from the data, from the command line, or from the caller."""

    name: Name
    size: Integer | Derived | None


@dataclass(frozen=True)
class Data(Node):
    """`data name[dims]: type`."""

    name: Name
    dims: tuple[Name, ...]
    type: ScalarType | IndexType


@dataclass(frozen=True)
class Const(Node):
    """`const name[dims]: type = default`; default None: the caller must give it."""

    name: Name
    dims: tuple[Name, ...]
    type: ScalarType | IndexType
    default: Expr | None


@dataclass(frozen=True)
class Sample(Node):
    """`name[dims] ~ distribution`: observed if `name` was declared as data, otherwise latent."""

    name: Name
    dims: tuple[Name, ...]
    distribution: Distribution
    annotations: tuple[Annotation, ...] = ()
    generated: bool = False
    init: Distribution | None = None


@dataclass(frozen=True)
class Define(Node):
    """`name[dims] = value`."""

    name: Name
    dims: tuple[Name, ...]
    value: Expr
    annotations: tuple[Annotation, ...] = ()
    generated: bool = False
    init: Expr | None = None


@dataclass(frozen=True)
class Factor(Node):
    """`factor name = value`: adds `value`, one number, to the log density."""

    name: Name
    value: Expr
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True)
class Scan(Node):
    """`scan step in dim { body }`: the body holds for each entry of `dim` in turn, `step` its number."""

    step: Name
    dim: Name
    body: tuple[Sample | Define, ...]
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True)
class Infer(Node):
    """`infer map() >> nuts(draws = 500)`: its stages, in their order."""

    stages: tuple[Call, ...]


@dataclass(frozen=True)
class Model(Node):
    """The whole file."""

    name: Name
    statements: tuple[Statement, ...]
    infer: Infer | None = None


Expr = Integer | Real | Bool | Text | Name | Unary | Binary | Call | Index
Argument = Expr | Keyword | DimMap
Statement = Use | Dim | Data | Const | Sample | Define | Factor | Scan


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below `node`, in the order of the text."""
    for entry in fields(node):
        value = getattr(node, entry.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from value


def walk(node: Node) -> Iterator[Node]:
    """`node` and all nodes below it, parents first, in the order of the text."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        waiting.extend(reversed(list(children(here))))
