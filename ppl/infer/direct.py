"""Options of the samplers that follow no trajectory: slice sampling, exact draws of Gaussians and of conjugate laws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .conjugate import Conjugate
from .exact import ExactGaussian
from .independent import ExactInfo
from .options import Common
from .phase import Phase, make_phase
from .protocol import Target
from .slice import MOST, Slice, SliceInfo
from .space import Space


@dataclass(frozen=True, kw_only=True)
class SliceOptions(Common):
    """Slice sampling along adapted axes, for at most 50 latents that no mesh axis splits.

    width: the first interval around a position; warm-up adapts it. expansions: an interval is stepped out to at most so
    many times its first width.
    """

    width: float = 1.0
    expansions: int = 10
    name: ClassVar[str] = "slice"
    info: ClassVar[Any] = SliceInfo

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_real("width", "above 0", lambda w: 0 < w < math.inf, "about the posterior's spread; 1 if unknown")
        self._check_integer("expansions", 1, 1000)

    def method(self, space: Space, target: Target) -> Slice:
        if space.degrees > MOST:
            raise self._wrong(
                f"{space.degrees} latents are too many: a transition evaluates the density some 5 times per latent",
                f"up to {MOST}: use nuts(), or slice for a block of few latents: gibbs(NAME=slice(), rest=nuts())",
            )
        if space.reproducible:
            raise self._wrong("its latents are packed, which reproducible sums exclude", "use nuts(), or leave it out")
        if len(space.sites) > 1 or len(space.sites[0].shape) != 1 or space.reduce_axes:
            names = ", ".join(s.name for s in space.sites)
            raise self._wrong(f"{names} are split over devices, or have several dtypes", "use nuts()")
        return Slice(space, target, self.expansions, self.width, self.thin)

    def copies(self) -> float:
        """The axes and a covariance of at most 50 x 50 are not counted: they are no vectors of a large model."""
        return 4

    def schedule(self) -> Phase:
        return make_phase(self.warmup, self.draws)


@dataclass(frozen=True, kw_only=True)
class _Independent(Common):
    """What draws from known laws share: nothing to adapt, and a misfit to tell."""

    warmup: int = 0
    info: ClassVar[Any] = ExactInfo

    def schedule(self) -> Phase:
        return make_phase(self.warmup, self.draws)

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        return {**super().statistics(info), "misfit": np.asarray(info.misfit, np.float64)}


@dataclass(frozen=True, kw_only=True)
class ExactOptions(_Independent):
    """Independent draws where the density of the latents is Gaussian: linear models, or blocks of `gibbs`.

    tolerance: the share by which gradients may differ from those of a Gaussian; a chain for which they differ by more
    does not move, and its transitions count as divergent. dense: up to so many latents their matrix is made and
    factored; beyond, draws are solved for. accuracy: of the solver's residuals. iterations: of the solver, at most.
    """

    tolerance: float = 1e-3
    dense: int = 256
    accuracy: float = 1e-6
    iterations: int = 1000
    name: ClassVar[str] = "exact_gaussian"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_real("tolerance", "above 0", lambda t: 0 < t < math.inf, "1e-3")
        self._check_real("accuracy", "between 0 and 1", lambda a: 0 < a < 1, "1e-6")
        self._check_integer("dense", 0, 2048)
        self._check_integer("iterations", 1)

    def method(self, space: Space, target: Target) -> ExactGaussian:
        how = {"dense": self.dense, "accuracy": self.accuracy, "iterations": self.iterations}
        return ExactGaussian(space=space, target=target, thin=self.thin, tolerance=self.tolerance, **how)

    def copies(self) -> float:
        """Conjugate gradients 5, noise, shift and the draw 3."""
        return 8


@dataclass(frozen=True, kw_only=True)
class ConjugateOptions(_Independent):
    """Independent draws of positive latents and probabilities whose conditionals are conjugate, as blocks of `gibbs`.

    Each element is to be gamma or inverse gamma distributed, or its square, or beta distributed, given all the rest and
    independently of each other (`ppl.infer.conjugate`). tolerance: the share by which gradients may differ from those
    of such laws (more where latents are float32); a chain for which they differ by more does not move, and its
    transitions count as divergent.
    """

    tolerance: float = 1e-6
    name: ClassVar[str] = "conjugate"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_real("tolerance", "above 0", lambda t: 0 < t < math.inf, "1e-6")

    def method(self, space: Space, target: Target) -> Conjugate:
        rounding = max(float(np.finfo(s.dtype).eps) for s in space.sites)
        tolerance = max(self.tolerance, 1e4 * rounding)
        return Conjugate(space=space, target=target, thin=self.thin, tolerance=tolerance)

    def copies(self) -> float:
        """The laws 8, in float64; points, gradients and the draw 4; gamma variates 8."""
        return 20
