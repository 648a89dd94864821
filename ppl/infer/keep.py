"""What a run keeps: which quantities, as draws or as moments, and the programs that compute them from a draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ir.dims import CHAIN, Dim, TensorType
from ir.errors import Diagnostic
from ir.graph import Program
from ir.ops.sites import Deterministic, Sample
from ir.passes.batch_over import batch_over

from ..pipeline import keep as restrict
from .tracers_of import tracer_specs

if TYPE_CHECKING:
    from ..posterior import Posterior

DRAWS_BYTES = 2**28
"""Draws of a quantity are kept whole up to this size of all chains together; of a larger one, mean and sd are kept."""


@dataclass(frozen=True)
class Kept:
    """The quantities of a run by name, and their types without the chain dim."""

    draws: dict[str, TensorType]
    """Kept draw by draw."""
    moments: dict[str, TensorType]
    """Kept as posterior mean and standard deviation."""
    free: tuple[str, ...]
    """Latents whose unconstrained values are kept on the way, for predictions."""
    notes: tuple[str, ...] = field(default=())


def choose(posterior: Posterior, names: Sequence[str] | None, draws: int, limit: int = DRAWS_BYTES) -> Kept:
    """Which quantities of a posterior to keep when `draws` draws are stored in all.

    `names` None: every latent and every saved deterministic that depends on one.
    """
    program = posterior.program("density")
    available = {n: v.type for n, v in program.outputs if ":" not in n and n != "log_density"}
    if names is None:
        random = _random(program)
        unsaved = {
            n.op.site for n in posterior.bound.program.walk() if isinstance(n.op, Deterministic) and not n.op.saved
        }
        names = [n for n in available if n not in unsaved and program.results[n].name in random]
        names = [n for n in names if not available[n].is_complex]
    for name in names:
        if name not in available:
            raise Diagnostic(
                "argument", f"cannot keep '{name}'", hint=f"the model has {', '.join(available)}", where="keep"
            )
    kept, moments, notes = {}, {}, []
    for name in names:
        t = available[name]
        size = t.size * t.itemsize * draws
        if size <= limit or not t.is_real:
            kept[name] = t
        else:
            moments[name] = t
            notes.append(
                f"'{name}' would take {size / 2**30:.1f} GiB of draws: its mean and standard deviation are kept, and "
                f"its tracers ({', '.join(tracer_specs(name, t))})"
            )
    return Kept(kept, moments, tuple(posterior.latents), tuple(notes))


def _random(program: Program) -> set[str]:
    """The values that depend on a latent."""
    found = {i.name for i in program.inputs_of("latent")}
    for node in program.nodes:
        if any(v.name in found for v in node.operands):
            found |= {v.name for v in node.results}
    return found


def collect_program(posterior: Posterior, kept: Kept, chains: int, free: bool) -> Program:
    """What a block computes of every draw: kept quantities by name and, if wanted, `free:NAME` of every latent."""
    program = posterior.program("density")
    program = restrict(program, [*kept.draws, *kept.moments])
    if free:
        extra = tuple((f"free:{n}", program.input(n).value) for n in kept.free)
        program = Program(program.name, program.inputs, program.nodes, program.outputs + extra, program.ties)
    return batch_over(program, Dim(CHAIN, chains), list(kept.free))


def prediction_program(posterior: Posterior, outputs: Sequence[str], what: str, chains: int) -> Program:
    """Outputs of "predict" or "density" (log likelihoods) over chains; the key has the chain dim too."""
    program = restrict(posterior.program(what), list(outputs))
    batched = [i.name for i in program.inputs if i.role in ("latent", "key")]
    return batch_over(program, Dim(CHAIN, chains), batched)


def generated(posterior: Posterior) -> list[str]:
    """Generated sites and the deterministics that depend on them."""
    return [
        n.op.site for n in posterior.bound.program.walk() if isinstance(n.op, Sample | Deterministic) and n.op.generated
    ]


__all__ = ["DRAWS_BYTES", "Any", "Kept", "choose", "collect_program", "generated", "prediction_program"]
