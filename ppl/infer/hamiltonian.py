"""Options of the samplers whose transitions are Hamiltonian trajectories with a Metropolis or multinomial test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .block import Trajectories
from .fisher import Estimator, FisherDense, FisherDiagonal, Fixed, Windows
from .fisher_low_rank import MOST_RANK, FisherLowRank
from .fourier import NO_WAVES, WAVES, FourierVariance
from .hmc import Hmc
from .integrators import INTEGRATORS
from .nuts import Nuts
from .options import Common
from .pack import MOST
from .protocol import Kernel, Target
from .schedule import Schedule, make_schedule
from .space import Space
from .variance import Variance

METRICS = ("auto", "diagonal", "variance", "dense", "low_rank", "fourier")
PASSING = 2
"""Copies of the latents that come and go where an estimate is renewed."""
TRANSFORM = 2
"""Copies of a field that a transform there and back takes."""
DENSE_MOST = 128
"""Dims up to which a dense metric costs less than it saves: two eigendecompositions every 20 draws of the warm-up."""


@dataclass(frozen=True, kw_only=True)
class Hamiltonian(Common):
    """What all of them take.

    target_accept: mean acceptance that warm-up aims at; unless it is given, chains with energy errors above 100 in more
    than 2 % of a warm-up's second half, also that of a stage before, aim half as far from 1. step_size: `None` to
    search for one and, if there is a warm-up, to adapt it from there; a number is where adaptation starts. metric:
    "dense" learns the full covariance of few latents that no mesh axis splits, "diagonal" each latent's scale from
    draws and gradients, "variance" from draws alone, "low_rank" scales and the at most `rank` directions in which the
    posterior is farthest from round, of any latents; but while it learns it holds 4 min(4 rank, 64) copies of them;
    "fourier" one scale for each band of wavenumbers of the fields that the model transforms along their dims
    (`ppl.infer.fourier`), two transforms of the field a step more, and is as "variance" for other latents.
    "auto" is "dense" up to 128 dims, "low_rank" up to 2048 (where they are packed), else "variance". Without a warm-up,
    metric and step size are those of the stage or run before, else 1 and a search. rescue: of few latents, chains that
    the first half of the warm-up leaves where the posterior has next to no mass go on from where others are
    (`ppl.infer.rescue`).
    """

    target_accept: float = 0.8
    step_size: float | None = None
    metric: str = "auto"
    rank: int = 16
    rescue: bool = True
    resumes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_real("target_accept", "between 0 and 1", lambda a: 0 < a < 1, "0.8; 0.95 if there are divergences")
        if self.step_size is not None:
            self._check_real("step_size", "above 0", lambda e: 0 < e < math.inf, "leave it out to search for one")
        if self.metric not in METRICS:
            raise self._wrong(f"there is no metric {self.metric!r}", f"one of {', '.join(METRICS)}")
        self._check_integer("rank", 1, MOST_RANK)
        if not isinstance(self.rescue, bool):
            raise self._wrong(f"rescue must be true or false, not {self.rescue!r}")
        if "rank" in self.given and self.metric in ("diagonal", "variance", "dense", "fourier"):
            raise self._wrong(f"a {self.metric} metric has no rank", 'metric = "low_rank", or leave the rank out')

    def kernel(self, space: Space, target: Target) -> Kernel:
        """How a trajectory grows."""
        raise NotImplementedError

    def method(self, space: Space, target: Target) -> Trajectories:
        estimator = self.estimator(space)
        stricter = "target_accept" not in self.given
        how = (self.target_accept, self.step_size, self.thin, stricter)
        return Trajectories(self.kernel(space, target), estimator, *how)

    def estimator(self, space: Space) -> Estimator:
        """How the metric is learnt; without a warm-up it is what was handed over."""
        kind = self.metric
        if kind == "auto":
            kind = "variance" if not space.packed else "dense" if space.degrees <= DENSE_MOST else "low_rank"
        if kind == "fourier":
            return self._fourier(space)
        if not self.warmup:
            return Fixed(space, FisherLowRank.of(space, self.rank) if kind == "low_rank" else None)
        if kind == "diagonal":
            return Windows(FisherDiagonal(space))
        if kind == "variance":
            return Windows(Variance(space))
        if kind == "low_rank":
            return FisherLowRank.of(space, self.rank)
        if not space.packed:
            raise self._wrong(
                f"a dense metric needs at most {MOST} latents of one dtype, whole on every device, and plain sums",
                'metric = "low_rank" or "diagonal", or pin the latents whole; leave "reproducible" out',
            )
        return Windows(FisherDense(space))

    def _fourier(self, space: Space) -> Estimator:
        if space.spectra is None:
            raise self._wrong(NO_WAVES, f'metric = "variance"; {WAVES}')
        one = FourierVariance(space)
        return Windows(one) if self.warmup else Fixed(space, one)

    @property
    def transforms(self) -> bool:
        return self.metric == "fourier"

    def copies(self) -> float:
        # Of spaces that may not fit: what "auto" and "dense" learn of few latents is never a matter of memory.
        low, nowhere = self.metric == "low_rank", Space(())
        kinds = {"diagonal": FisherDiagonal, "fourier": FourierVariance}
        one = kinds.get(self.metric, Variance)(nowhere)
        estimator = FisherLowRank.with_draws(nowhere, self.rank) if low else Windows(one)
        learnt = estimator.copies() + PASSING if self.warmup else 0
        # A metric of plane waves holds nothing of a field's size, but its transform does.
        held = TRANSFORM if self.transforms else 1 + (self.rank if low else 0)
        return self.kernel(nowhere, nowhere).copies() + held + learnt - 2

    def schedule(self) -> Schedule:
        return make_schedule(self.warmup, self.draws)


@dataclass(frozen=True, kw_only=True)
class NutsOptions(Hamiltonian):
    """The no-U-turn sampler.

    max_depth: a trajectory has at most 2^max_depth - 1 leapfrogs. half_checks: whether it ends by Stan's tests, which
    take one more copy of the latents per level, or by the momenta half a step beyond its ends (`ppl.infer.turns`); by
    default Stan's for up to 2048 latents.
    """

    max_depth: int = 10
    half_checks: bool | None = None
    name: ClassVar[str] = "nuts"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integer("max_depth", 1, 20)
        if not (self.half_checks is None or isinstance(self.half_checks, bool)):
            raise self._wrong(f"half_checks must be true or false, not {self.half_checks!r}")

    def kernel(self, space: Space, target: Target) -> Nuts:
        """The kernel of these options on a space."""
        return Nuts(space, target, self.max_depth, self.half_checks)

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        depth = np.asarray(info.depth, np.int32)
        reached = depth >= self.max_depth
        return {**super().statistics(info), "tree_depth": depth, "reached_max_treedepth": reached}


@dataclass(frozen=True, kw_only=True)
class HmcOptions(Hamiltonian):
    """Hamiltonian Monte Carlo. steps: mean number of steps; jitter: their relative half-range, in [0, 1].

    integrator: what a step is: "leapfrog", one gradient, "minimal_norm", two, or "three_stage", three.
    """

    steps: int = 10
    jitter: float = 0.5
    integrator: str = "leapfrog"
    name: ClassVar[str] = "hmc"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integer("steps", 1)
        self._check_real("jitter", "in [0, 1]", lambda j: 0 <= j <= 1, "0.5 draws 50 % to 150 % of `steps`")
        if self.integrator not in INTEGRATORS:
            raise self._wrong(f"there is no integrator {self.integrator!r}", f"there are: {', '.join(INTEGRATORS)}")

    def kernel(self, space: Space, target: Target) -> Hmc:
        """The kernel of these options on a space."""
        return Hmc(space, target, self.steps, self.jitter, INTEGRATORS[self.integrator])
