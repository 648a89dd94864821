"""From what a model says to what is computed: sites become log-density terms, unconstrained latents, or draws.

One walk serves all uses; they differ in what a latent and an observed site turn into:

| mode       | latent site                    | observed site        | generated site |
|------------|--------------------------------|----------------------|----------------|
| density    | unconstrained input, its term  | its term             | left out       |
| given      | constrained data input         | its value            | left out       |
| informed   | unconstrained input, what its prior tells | what it tells | left out    |
| predict    | unconstrained input            | a draw               | a draw         |
| prior      | a draw                         | a draw               | a draw         |

From an improper prior nothing can be drawn. There, mode "prior" takes an unconstrained number between -2 and 2, where a
chain may start, and the program puts out no draw of that site or of what depends on it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..build import Builder, as_value, cast, constant, emit
from ..constrain import free_dims, from_support, to_support
from ..dims import Dim, TensorType
from ..dist import Informed, Noise
from ..errors import Diagnostic, InternalError
from ..graph import Node, Program, Value
from ..op import Op
from ..ops.control import has_inverse
from ..ops.elementwise import Where
from ..ops.random import RandomUniform
from ..ops.reduce import Sum
from ..ops.sites import Deterministic, Factor, Limit, Observe, Sample
from .parallelise import parallelise
from .rewrite import with_fresh_regions

if TYPE_CHECKING:
    from .expand_scan import Step

DRAWING = ("predict", "prior")
"""The modes that draw, generated quantities too."""
KEY = TensorType((Dim("word", 2),), "u32")
"""The type of the random key: two words, derived from seed, chain and step."""


def log_density(program: Program) -> Program:
    """The log density of a conditioned model over unconstrained latents.

    Outputs: `log_density` (f64: the sum of every term, of log-Jacobians too), every latent and deterministic by name,
    `log_likelihood:SITE` by element for every observed site, and `limit:SITE` where particles are limited.
    """
    return parallelise(Expansion("density").run(program))


def unconstrain_given(program: Program) -> Program:
    """Constrained values of the latents (data inputs by site name) to unconstrained ones: outputs `free:SITE`."""
    return parallelise(Expansion("given").run(program))


def informed(program: Program) -> Program:
    """What sites tell about unconstrained latents: `coordinate:SITE.NAME` and `information:SITE.NAME`.

    See `ir.dist.Informed`; an information has the coordinate's dims or fewer, summed over the rest of the site. Of a
    coordinate of unknown information there is only `coordinate:`, of a factor `coordinate:SITE`. A prior of which
    nothing is known is a `Diagnostic`.
    """
    return parallelise(Expansion("informed").run(program))


def predict(program: Program) -> Program:
    """Draws of observed and generated sites given unconstrained latents: `predictive:SITE`, generated names."""
    return parallelise(Expansion("predict").run(program))


def prior(program: Program) -> Program:
    """Draws of everything from the prior: latents by name with `free:SITE`, deterministics, `predictive:SITE`, limits.

    Of sites with an improper prior and of what depends on them there is only `free:SITE`, for chains to start from.
    """
    drawn, hidden = Expansion("prior").run(program), improper_sites(program)[1]
    proper = tuple(
        (n, v) for n, v in drawn.outputs if n.removeprefix("predictive:").removeprefix("limit:") not in hidden
    )
    return parallelise(dataclasses.replace(drawn, outputs=proper))


@dataclass
class Expansion:
    """One walk over a program, or over the body of a scan in it."""

    mode: str
    env: dict[str, Value] = field(default_factory=dict)
    terms: list[tuple[int, Value]] = field(default_factory=list)
    """The terms of the log density, each with the number of elements that it sums."""
    outputs: dict[str, Value] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    key: Value | None = None
    step: Step | None = None
    """Within a scan: where its sites' inputs and keys come from."""

    def run(self, program: Program) -> Program:
        names = deterministic_names(program)
        with Builder(program.name) as b:
            b.real = _real(program)
            for i in program.inputs:
                self.env[i.name] = b.input(i.name, i.type, i.role)
            if self.mode in DRAWING:
                self.key = b.input("key", KEY, "key")
            for node in program.nodes:
                b.span = node.span
                self.node(b, node, names)
            b.span = None
            if self.mode == "density":
                self.outputs = {"log_density": self.total(), **self.outputs}
            return b.finish(self.outputs)

    def node(self, b: Builder, node: Node, names: dict[str, str]) -> None:
        op = node.op
        if op.regions() and not has_inverse(op):
            from .expand_scan import expand_scan

            expand_scan(self, b, node)
            return
        if any(v.name in self.skipped for v in node.operands) or (
            getattr(op, "generated", False) and self.mode not in DRAWING and isinstance(op, Sample)
        ):
            self.skipped |= {v.name for v in node.results}
            return
        operands = tuple(self.env[v.name] for v in node.operands)
        if isinstance(op, Sample):
            made = self.sample(b, op, operands)
        elif isinstance(op, Observe):
            made = self.observe(op, operands)
        elif isinstance(op, Factor):
            made = operands[0]
            if self.mode == "informed":
                self.outputs[f"coordinate:{op.site}"] = made
            else:
                self.add_term(made)
        elif isinstance(op, Deterministic):
            made = operands[0]
            self.outputs[op.site] = made
        elif isinstance(op, Limit):
            made = operands[0]
            if self.mode in ("density", "prior"):
                self.outputs[f"limit:{op.site}"] = made
        else:
            wished = [names.get(v.name, v.name) for v in node.results]
            results = b.emit_all(with_fresh_regions(op, b), *operands, span=node.span, names=wished)
            self.env |= {old.name: new for old, new in zip(node.results, results, strict=True)}
            return
        self.env[node.results[0].name] = made

    def sample(self, b: Builder, op: Sample, params: tuple[Value, ...]) -> Value:
        t = op.result(*(p.type for p in params))
        if op.generated or self.mode == "prior":
            x = self.start(op, t, params) if op.dist.improper and not op.generated else self.draw(op, t, params)
            self.outputs[op.site] = x
            if not op.generated and not op.dist.discrete:
                self.outputs[f"free:{op.site}"] = from_support(op.dist.support(*params), x, op.dist.event)
            return x
        if op.dist.discrete:
            raise Diagnostic(
                "type",
                f'the discrete "{op.site}" has no gradient and cannot be sampled by HMC or NUTS',
                hint="observe it (declare it as data), or write the sum over its values with logaddexp",
            ).at(b.span)
        support = op.dist.support(*params)
        if self.mode == "given":
            x = self.input(b, op.site, t, "data")
            self.outputs[f"free:{op.site}"] = from_support(support, x, op.dist.event)
            return x
        free = TensorType(free_dims(support, t.dims, op.dist.event), t.dtype)
        u = self.input(b, op.site, free, "latent")
        x, log_det = to_support(support, u, op.dist.event)
        self.outputs[op.site] = x
        if self.mode == "informed":
            told = op.dist.prior_information(u, *params)
            if told is None:
                raise unknown_prior(op).at(b.span)
            self.tell(op.site, told, t.without(op.dist.event))
        if self.mode == "density":
            if log_det is not None:
                self.add_term(log_det, u.type)
            self.add_term(op.dist.log_prob(x, *params), t.without(op.dist.event))
        return x

    def observe(self, op: Observe, operands: tuple[Value, ...]) -> Value:
        x, *params = operands
        mask = params.pop() if op.masked else None
        if self.mode in DRAWING:
            self.outputs[f"predictive:{op.site}"] = self.draw(op, x.type, tuple(params))
            return x
        if self.mode == "given":
            return x
        if self.mode == "informed":
            self.tell(op.site, op.dist.information(*params), x.type.without(op.dist.event), mask)
            return x
        if mask is not None:
            inside = constant(int(op.dist.inside) if x.type.dtype[0] in "iu" else op.dist.inside, x.type.dtype)
            x = emit(Where(), mask, x, inside)
        term = op.dist.log_prob(x, *params)
        if mask is not None:
            term = emit(Where(), mask, term, constant(0.0, term.type.dtype))
        self.outputs[f"log_likelihood:{op.site}"] = term
        self.add_term(term, operands[0].type.without(op.dist.event))
        return term

    def tell(self, site: str, told: Sequence[Informed], over: TensorType, mask: Value | None = None) -> None:
        """Puts out the coordinates of a site of the dims `over`, each with the information of all its elements."""
        for c in told:
            name, value = f"{site}.{c.name}", c.value
            if not value.type.is_real:
                continue  # a whole number depends on no latent
            self.outputs[f"coordinate:{name}"] = value
            if c.information is None:
                continue
            each = as_value(c.information, value)
            if mask is not None:
                each = emit(Where(), mask, each, constant(0.0, each.type.dtype))
            times = math.prod(d.size for d in over.dims if d.name not in value.type and d.name not in each.type)
            summed = tuple(d for d in each.dims if d not in value.type)
            if summed:
                each = cast(emit(Sum(summed, "f64"), each), value.type.dtype)
            self.outputs[f"information:{name}"] = each if times == 1 else each * float(times)

    def input(self, b: Builder, name: str, t: TensorType, role: str) -> Value:
        """A further input of the program; within a scan, this step's entry of it."""
        return b.input(name, t, role) if self.step is None else self.step.input(name, t, role)

    def random_key(self) -> Value:
        """The program's key; within a scan, a key of this step."""
        if self.key is None and self.step is not None:
            self.key = self.step.key()
        if self.key is None:
            raise InternalError(f"mode '{self.mode}' draws nothing, but a draw is wanted")
        return self.key

    def draw(self, op: Sample | Observe, t: TensorType, params: tuple[Value, ...]) -> Value:
        return op.dist.draw(Noise(self.random_key(), op.site), t.dims, *params)

    def start(self, op: Sample, t: TensorType, params: tuple[Value, ...]) -> Value:
        """A value of an improper prior at which a chain may start: uniform(-2, 2), unconstrained, as Stan's."""
        support = op.dist.support(*params)
        uniform = RandomUniform(free_dims(support, t.dims, op.dist.event), op.site, dtype=t.dtype)
        return to_support(support, 4.0 * emit(uniform, self.random_key()) - 2.0, op.dist.event)[0]

    def add_term(self, x: Value, over: TensorType | None = None) -> None:
        """Adds the sum of x to the log density, elementwise in f64; dims of `over` that x lacks count as often."""
        missing = 1
        if over is not None:
            for d in over.dims:
                if d.name not in x.type:
                    missing *= d.size
        total = emit(Sum(x.dims, "f64"), x)
        self.terms.append((x.type.size, total if missing == 1 else total * float(missing)))

    def total(self) -> Value:
        """The sum of all terms, a scalar in f64, large ones first.

        Split sums then add up as partial sums, and are reduced over devices once.
        """
        if not self.terms:
            return constant(0.0, "f64")
        total, *rest = [term for _, term in sorted(self.terms, key=lambda t: -t[0])]
        for term in rest:
            total = total + term
        return total


def unknown_prior(op: Sample) -> Diagnostic:
    """The lesson about a latent of whose distribution no information is known."""
    return Diagnostic(
        "type",
        f'the expected curvature of the prior of "{op.site}", {op.dist.name}, is not known, and mgvi needs it',
        hint="write it as a function of a Normal quantity (@noncentered where there is that form), or use laplace, "
        "advi or nuts",
    )


def improper_sites(program: Program) -> tuple[list[str], set[str]]:
    """The latent sites with an improper prior, and all sites that depend on one, these included.

    A scan that depends on one or holds one counts as a whole.
    """
    own: list[str] = []
    found: set[str] = set()
    values: set[str] = set()
    for node in program.nodes:
        inner = [node, *(n for region in node.op.regions() for n in region.walk())]
        sites = [n.op for n in inner if isinstance(n.op, Sample | Observe | Deterministic | Limit)]
        here = [op.site for op in sites if isinstance(op, Sample) and op.dist.improper and not op.generated]
        own += here
        if here or any(v.name in values for v in node.operands):
            values |= {v.name for v in node.results}
            found |= {op.site for op in sites}
    return own, found


def deterministic_names(program: Program) -> dict[str, str]:
    """The site's name for every value that a deterministic site names."""
    return {n.operands[0].name: n.op.site for n in program.nodes if isinstance(n.op, Deterministic)}


def _real(program: Program) -> str:
    """The dtype of the model's real numbers."""
    return next((n.op.dtype for n in program.walk() if isinstance(n.op, Sample | Observe)), "f32")


__all__ = ["DRAWING", "KEY", "Op", "improper_sites", "informed", "log_density", "predict", "prior", "unconstrain_given"]
