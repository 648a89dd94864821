"""Options of the samplers whose chains are one population: tempered sequential Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ir.errors import Diagnostic

from .options import Common
from .phase import Phase, make_phase
from .protocol import Target
from .smc import Smc, SmcInfo
from .space import Space


@dataclass(frozen=True, kw_only=True)
class SmcOptions(Common):
    """Adaptive tempered sequential Monte Carlo; its draws are shown as one chain of all particles.

    particles: how many. effective: share of effective particles that a stage of tempering keeps. moves: trajectories
    of a particle in a stage. steps: leapfrogs of a trajectory, at most. target_accept: their mean acceptance. warmup:
    stages at most. draws: further stages at the posterior, each of which gives a draw of every particle.

    The result's attributes have `log_evidence`, the logarithm of the integral of likelihood times prior (with all
    constants that the model's densities have), `log_evidence_error`, and lists by stage: `stage_temperature`,
    `stage_effective`, `stage_acceptance`, `stage_step_size`.
    """

    particles: int = 1000
    effective: float = 0.7
    moves: int = 3
    steps: int = 16
    target_accept: float = 0.8
    chains: int = field(default=0, init=False, repr=False)
    draws: int = 1
    warmup: int = 200
    name: ClassVar[str] = "smc"
    info: ClassVar[Any] = SmcInfo
    in_blocks: ClassVar[bool] = False
    pooled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check_integer("particles", 2)
        object.__setattr__(self, "chains", self.particles)
        super().__post_init__()
        self._check_integer("warmup", 1)
        self._check_integer("moves", 1)
        self._check_integer("steps", 1)
        self._check_real("effective", "between 0 and 1", lambda a: 0 < a < 1, "0.7; 0.9 for more, surer stages")
        self._check_real("target_accept", "between 0 and 1", lambda a: 0 < a < 1, "0.8")

    def method(self, space: Space, target: Target) -> Smc:
        return Smc(space, target, self.effective, self.moves, self.steps, self.target_accept, self.thin)

    def copies(self) -> float:
        """Reference and metric 3, the moving end 3, resampling 2."""
        return 8

    def schedule(self) -> Phase:
        return make_phase(self.warmup, self.draws)

    def report(self, infos: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
        """Evidence and the course of the tempering. Raises where the posterior was not reached."""
        every = [np.concatenate(x, axis=1) for x in zip(*infos, strict=True)]
        # The loops of a block end when the posterior is reached: rows without a gradient did not happen.
        told = SmcInfo(*(x[:, every[1].max(axis=0) > 0] for x in every))
        reached = float(told.temperature[0, -1])
        if reached < 1:
            raise Diagnostic(
                "run",
                f"smc came to temperature {reached:.2g} of 1 in {told.temperature.shape[1] - self.draws} stages",
                hint=f"warmup = {4 * self.warmup} allows more stages; init, priors or 'effective' may be at fault",
            )
        facts = {
            "log_evidence": float(told.log_evidence[0, -1]),
            "log_evidence_error": float(told.log_evidence_error[0, -1]),
            "stage_temperature": told.temperature[0].tolist(),
            "stage_effective": told.effective[0].tolist(),
            "stage_acceptance": told.accept_stat.mean(axis=0).tolist(),
            "stage_step_size": told.step_size[0].tolist(),
        }
        note = f"log evidence {facts['log_evidence']:.2f} +- {facts['log_evidence_error']:.2f}"
        return facts, [note]
