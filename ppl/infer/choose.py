"""The program that fits a posterior, chosen from its graph, with the reasons in plain words.

| unconstrained dims  | a field and others                        | fields alone, or no field |
|---------------------|-------------------------------------------|---------------------------|
| below 2,000         | nuts()                                    | nuts()                    |
| up to 100,000       | mclmc(only = fields) >> mclmc() >> mams() | mclmc() >> mams()         |
| above               | mclmc(only = fields) >> mclmc() >> mams() | mclmc()                   |

A field is a latent of 1,000 elements or more. Below 2,000 dims the no-U-turn sampler with a learnt metric is hard to
beat. Above, the microcanonical samplers need several times fewer gradients, the more so the larger the model (Robnik
et al. 2022; Simon-Onfroy et al. 2025). Their small bias is removed by the adjusted one up to 100,000 dims, where that
costs little, and at any size where there are hyper-parameters beside a field, whose bias grows with the root of the
field's size (`ppl.report.unadjusted`). The field moves first with the rest held, since it is far from typical at the
start and drags the hyper-parameters with it. Where an algorithm is not there, the one that comes nearest stands in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import rshift
from typing import TYPE_CHECKING

from ir.ops.fft import Fourier

from .options import Common
from .program import AutoOptions, available
from .written import Call, Option, Written, make, override

if TYPE_CHECKING:
    from ..posterior import Posterior

FEW, MANY, FIELD = 2_000, 100_000, 1_000


@dataclass(frozen=True)
class Suggestion:
    """A program for a posterior, and why; it can be printed."""

    written: Written
    reasons: str

    @property
    def program(self) -> Common:
        return make(self.written)

    def __str__(self) -> str:
        return f"{self.program}: {self.reasons}"


def suggest(posterior: Posterior, there: Callable[[str], bool] = available) -> Suggestion:
    """The program for a posterior; `there` says which algorithms there are.

    A discrete latent that is left is a `Diagnostic`, as for every gradient-based sampler.
    """
    sizes = {n: t.size for n, t in posterior.latents.items()}
    dims = sum(sizes.values())
    if dims < FEW:
        told = f"{_count(dims, 'unconstrained dim')}, few enough for the no-U-turn sampler with a metric of its own"
        return Suggestion((Call("nuts"),), told)
    fields = tuple(n for n, size in sizes.items() if size >= FIELD)
    told = _told(posterior, dims, fields)
    if not there("mclmc"):
        return Suggestion((Call("nuts"),), f"{told}. Of the samplers that there are the no-U-turn sampler fits best")
    joint, beside = (Call("mclmc"),), bool(fields) and len(fields) < len(sizes)
    told += ". The microcanonical sampler needs the fewest gradients at this size"
    if beside:
        joint = (Call("mclmc", (Option("only", fields),)), *joint)
        told += f"; {_listed(fields)} moves first, the rest held" if len(fields) == 1 else "; the fields move first"
    if (dims <= MANY or beside) and there("mams"):
        where = ", which adds up in what stands beside a field" if beside else ""
        return Suggestion((*joint, Call("mams")), f"{told}, and its adjusted form removes the bias that it has{where}")
    return Suggestion(joint, f"{told}. Its small bias is told with the result")


def _told(posterior: Posterior, dims: int, fields: tuple[str, ...]) -> str:
    """The facts that the choice rests on."""
    facts = _count(dims, "unconstrained dim")
    if fields:
        kind = ", transformed by FFT" if _transformed(posterior, fields) else ""
        facts += f", most of them in the field{'s' * (len(fields) > 1)} {_listed(fields)}{kind}"
    if posterior.request.mesh.devices > 1:
        facts += f", laid out over {posterior.request.mesh.devices} devices"
    return facts


def _transformed(posterior: Posterior, fields: tuple[str, ...]) -> bool:
    """Whether a Fourier transform stands on what a field goes into."""
    reached = set(fields)
    for node in posterior.programs["gradient"].walk():
        if any(v.name in reached for v in node.operands):
            if isinstance(node.op, Fourier):
                return True
            reached |= {v.name for v in node.results}
    return False


def resolve(program: Common | None, posterior: Posterior) -> tuple[Common, str | None]:
    """The program with what is to be chosen chosen, and the reasons where something was (None: all is to be)."""
    program = program if program is not None else AutoOptions()
    if not any(isinstance(stage, AutoOptions) for stage in program.stages()):
        return program, None
    found = suggest(posterior)
    return reduce(rshift, (_resolved(stage, found) for stage in program.stages())), found.reasons


def _resolved(stage: Common, found: Suggestion) -> Common:
    if not isinstance(stage, AutoOptions):
        return stage
    return make(override(found.written, {n: Option(n, x) for n, x in stage.further}))


def expand(program: Written, posterior: Posterior) -> tuple[Written, str | None]:
    """`resolve` for a program as it is written."""
    if not any(call.name == "auto" for call in program):
        return program, None
    found = suggest(posterior)
    chosen = [
        override(found.written, {o.name: o for o in call.options}) if call.name == "auto" else (call,)
        for call in program
    ]
    return tuple(call for calls in chosen for call in calls), found.reasons


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names) if len(names) < 4 else f"{', '.join(names[:3])}, …"


__all__ = ["Suggestion", "expand", "resolve", "suggest"]
