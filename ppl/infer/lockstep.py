"""Options of the samplers whose chains advance in lock step and learn from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .chees import Chees, CheesInfo
from .chees_adapt import estimator
from .options import Common
from .protocol import Target
from .schedule import Schedule, make_schedule
from .space import Space


@dataclass(frozen=True, kw_only=True)
class CheesOptions(Common):
    """ChEES-HMC: trajectories of one length for all chains, adapted to them. For many chains, 16 or more.

    target_accept: harmonic mean of the chains' acceptance that warm-up aims at. step_size: `None` to search for one and
    to adapt it from there; a number is where adaptation starts. length: the longest path of a transition, in units of
    posterior deviations, where its adaptation starts; paths are uniform up to it. most: leapfrogs of a path at most.
    Without a warm-up, metric and step size are those of the stage or run before, else 1 and a search, and the length
    stands.
    """

    chains: int = 16
    target_accept: float = 0.651
    step_size: float | None = None
    length: float = 1.5
    most: int = 1000
    name: ClassVar[str] = "chees"
    info: ClassVar[Any] = CheesInfo
    in_blocks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chains < 2:
            raise self._wrong(
                f"chains must be at least 2, not {self.chains}: they learn from each other",
                "chains = 16 or more; nuts() and hmc() run chains that are each on their own",
            )
        self._check_integer("most", 1, 10**6)
        self._check_real(
            "target_accept", "between 0 and 1", lambda a: 0 < a < 1, "0.651; more if there are divergences"
        )
        positive = lambda x: 0 < x < math.inf  # noqa: E731
        self._check_real("length", "above 0", positive, "1.5 is about a quarter of a unit normal's period")
        if self.step_size is not None:
            self._check_real("step_size", "above 0", positive, "leave it out to search for one")

    def method(self, space: Space, target: Target) -> Chees:
        learnt = estimator(space) if self.warmup else None
        return Chees(space, target, learnt, self.target_accept, self.step_size, self.length, self.most, self.thin)

    def copies(self) -> float:
        """Beside position and gradient: the moving end 3, scale 1, and 1 that passes; if there is a warm-up, the sums
        of every chain 8, and 4 more that pass between a path, the criterion and the sums."""
        return 5 + (estimator(Space(())).copies() + 4 if self.warmup else 0)

    def schedule(self) -> Schedule:
        return make_schedule(self.warmup, self.draws)

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        return {**super().statistics(info), "path_length": np.asarray(info.length, np.float64)}
