"""Options of the microcanonical samplers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .block import Trajectories
from .hamiltonian import Hamiltonian
from .isokinetic import SCHEMES
from .mams import Mams
from .mclmc import Mclmc, MclmcInfo
from .mclmc_adapt import Schedule, make_schedule, rows, stride
from .options import Common
from .pack import MOST
from .protocol import Target
from .space import Space


@dataclass(frozen=True, kw_only=True)
class MclmcOptions(Common):
    """Unadjusted microcanonical Langevin dynamics. A draw is one step: many are made, and every thin-th is kept.

    energy_variance: mean squared energy error per dim that warm-up aims at; the bias of the draws follows from it
    (`ppl.infer.isokinetic.squared_bias`). integrator: "verlet", one gradient a step, or "minimal_norm", two.
    step_size: eps / sqrt(d), from where warm-up adapts it; None: found. length: L / sqrt(d) over which the direction is
    forgotten; None: set by warm-up from autocorrelation times. adapt_metric: learn a diagonal metric, or, as
    the first stage of a program for few latents (up to 2048), keep that of 200 transitions of NUTS before, which is
    dense or of low rank. energy_clip: steps whose squared energy error per dim is so many times what is wanted are
    rejected.
    """

    draws: int = 10_000
    warmup: int = 4000
    thin: int = 10
    block: int = 500
    energy_variance: float = 5e-4
    integrator: str = "verlet"
    step_size: float | None = None
    length: float | None = None
    adapt_metric: bool = True
    energy_clip: float = 100.0
    name: ClassVar[str] = "mclmc"
    info: ClassVar[Any] = MclmcInfo

    def __post_init__(self) -> None:
        super().__post_init__()
        positive = lambda x: 0 < x < math.inf  # noqa: E731
        self._check_real("energy_variance", "above 0", positive, "5e-4; less for less bias")
        self._check_real("energy_clip", "of 10 or more", lambda x: 10 <= x <= math.inf, "100 rejects ten-sigma errors")
        if self.integrator not in SCHEMES:
            raise self._wrong(f"there is no integrator {self.integrator!r}", f"there are: {', '.join(SCHEMES)}")
        for option in ("step_size", "length"):
            if getattr(self, option) is not None:
                self._check_real(option, "above 0", positive, "leave it out to have it found")
        if not isinstance(self.adapt_metric, bool):
            raise self._wrong(f"adapt_metric must be true or false, not {self.adapt_metric!r}")

    @property
    def approached(self) -> float:
        return MOST if self.adapt_metric else 0

    def method(self, space: Space, target: Target) -> Mclmc:
        return Mclmc(
            space,
            target,
            SCHEMES[self.integrator],
            wanted=self.energy_variance,
            step=self.step_size,
            length=self.length,
            learn=self.adapt_metric,
            clip=self.energy_clip,
            thin=self.thin,
            rows=rows(self.warmup),
            every=stride(self.warmup),
            warm=self.warmup > 0,
        )

    def copies(self) -> float:
        """Beside position and gradient: direction and scale; mean and variance where they are learnt, and what passes
        then; the origin of a step of several drifts, and XLA's copy of it."""
        learnt = 4 if self.adapt_metric and self.warmup else 0
        return 2 + learnt + 2 * (SCHEMES[self.integrator].gradients > 1)

    def schedule(self) -> Schedule:
        return make_schedule(self.warmup, self.draws)

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        more = {
            f: np.asarray(getattr(info, f), np.float64)
            for f in ("energy_error", "energy_variance", "length", "rejected")
        }
        return {**super().statistics(info), **more}


@dataclass(frozen=True, kw_only=True)
class MamsOptions(Hamiltonian):
    """Metropolis-adjusted microcanonical trajectories.

    length: their mean length in sqrt(d) whitened units, so that about length / step_size steps make a draw. langevin:
    directions are refreshed along a trajectory too. As the first stage of a program it is preceded by 200 transitions
    of another sampler's warm-up, which brings the chains to the bulk (`ppl.infer.stages.prepared`).
    """

    target_accept: float = 0.9
    length: float = 1.3
    langevin: bool = False
    name: ClassVar[str] = "mams"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_real("length", "above 0", lambda x: 0 < x < math.inf, "1.3; longer for slow directions")
        if not isinstance(self.langevin, bool):
            raise self._wrong(f"langevin must be true or false, not {self.langevin!r}")

    @property
    def approached(self) -> float:
        return math.inf

    def method(self, space: Space, target: Target) -> Trajectories:
        if space.degrees < 2:
            # d - 1 divides the force: on a line a direction can only be reversed, and draws would be far off.
            raise self._wrong("microcanonical samplers need two latent dims or more", "use nuts() or slice()")
        return super().method(space, target)

    def kernel(self, space: Space, target: Target) -> Mams:
        """The kernel of these options on a space."""
        return Mams(space, target, self.length, self.langevin)
