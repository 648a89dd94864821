"""Inference programs of several stages: `map() >> nuts()`.

Each stage starts where the one before ended, with what that one learnt of the posterior's scales. Of a stage that is
not the last only the warm-up is run, and none of its draws are kept: `warmup` is its length. The chains count their
transitions on from stage to stage, so that no noise is used twice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from ir.errors import Diagnostic

from .options import Common
from .pack import MOST


@dataclass(frozen=True, kw_only=True)
class Stages(Common):
    """Several programs, one after the other. Its own options are the last one's, and `chains` that of them all."""

    parts: tuple[Common, ...] = ()
    name: ClassVar[str] = "stages"

    def stages(self) -> tuple[Common, ...]:
        return self.parts

    def copies(self) -> float:
        """The largest of its stages': their states do not live at the same time."""
        return max(stage.copies() for stage in self.parts)

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        return self.parts[-1].statistics(info)

    def written(self, leave_out: tuple[str, ...] = ()) -> str:
        """The stages' texts; what counts for all of them stands at the last."""
        *first, last = self.parts
        shared = ("chains", "reproducible", *leave_out)
        return " >> ".join([*(stage.written(shared) for stage in first), last.written(leave_out)])


APPROACH = 200
"""Transitions of warm-up that bring chains to the bulk."""
LARGE = 10**5
"""Latents of a chain from which warm-up and sampling are programs of their own."""
_CHAINS = next(f.default for f in fields(Common) if f.name == "chains")


def join(first: Common, then: Common) -> Stages:
    """`first >> then`. The number of chains that is given to any stage counts for all, and so does `reproducible`."""
    if not isinstance(then, Common):
        hint = f"for example {first} >> nuts()"
        raise Diagnostic("argument", f"{first} cannot go on with {then!r}: it is no inference program", hint=hint)
    parts = (*first.stages(), *then.stages())
    asked = {stage.chains: stage for stage in parts if "chains" in stage.given or stage.chains != _CHAINS}
    if len(asked) > 1:
        told = " and ".join(f"{stage.name} {n}" for n, stage in asked.items())
        hint = "all stages run the same chains: give their number once"
        raise Diagnostic("argument", f"the stages have different numbers of chains: {told}", hint=hint)
    for stage in parts[:-1]:
        check_goes_before(stage)
    shared = {"chains": next(iter(asked), _CHAINS), "reproducible": any(stage.reproducible for stage in parts)}
    return _of(tuple(replace(stage, **shared) for stage in parts))


def prepared(program: Common, latents: int) -> Common:
    """The program with what brings chains to the bulk before a sampler that cannot get there from afar by itself.

    A direction of unit speed gains nothing on its way down, so that from log densities of -10^9 a microcanonical chain
    takes for ever; momenta do gain. NUTS's warm-up for few latents, which finds a metric that turns them too, HMC's for
    many, which holds less.
    """
    first, *rest = program.stages()
    if latents > first.approached or not first.warmup:
        return program
    from .hamiltonian import HmcOptions, NutsOptions

    few = latents <= MOST
    kind = NutsOptions(warmup=APPROACH, max_depth=8) if few else HmcOptions(warmup=APPROACH, steps=20)
    shared = {name: getattr(first, name) for name in ("chains", "only", "block", "reproducible")}
    return _of((replace(kind, rescue=getattr(first, "rescue", True), **shared), first, *rest))


def settled_apart(program: Common, latents: int) -> Common:
    """For many latents the last stage's warm-up becomes a stage of its own: its program holds what adaptation needs,
    the one that samples does not. For few, one program for both saves half of the compilation."""
    *first, last = program.stages()
    if latents < LARGE or not last.resumes or not last.warmup:
        return program
    return _of((*first, last, replace(last, warmup=0)))


def _of(parts: tuple[Common, ...]) -> Stages:
    last = parts[-1]
    shared = ("chains", "draws", "warmup", "thin", "block", "reproducible")
    return Stages(**{n: getattr(last, n) for n in shared}, parts=parts)


def check_goes_before(stage: Common) -> None:
    """Raises a `Diagnostic` for a stage that would do nothing before another one."""
    if not stage.warmup:
        hint = "before another stage only the warm-up is run: give it one, as warmup = 200, or leave the stage out"
        raise Diagnostic("argument", f"the stage {stage} has no warm-up, so that it would do nothing", hint=hint)
