"""Options of the optimisers and approximations: `map`, `laplace`, `advi`, `mgvi`, `pathfinder`.

All work on unconstrained latents: the mode is that of the density with the log-Jacobian of the constraints in it (as
Stan's `optimize(jacobian=true)`), which is what an approximation by a normal must be centred on. It depends on how the
model is written, and is not the maximum of the density over the parameters' own units.

For all of them `warmup` is the most iterations, which end early when all chains have finished; `draws` are independent
draws of the approximation (for `map`, the point itself).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ir.errors import Diagnostic

from .adam import AdamAscent
from .advi import Advi
from .climb import Climb, ConjugateGradient, Lbfgs
from .fit import Fit, FitInfo, FitSchedule, Fitting, fit_schedule
from .fourier import NO_WAVES, WAVES
from .information import Information, no_information
from .lanczos import LanczosLaplace
from .laplace import DenseLaplace
from .mgvi import Mgvi
from .options import Common
from .pack import MOST, PACKED
from .pathfinder import Pathfinder
from .protocol import Target, nowhere
from .space import Space

OPTIMISERS = ("lbfgs", "cg", "adam")
CURVATURES = ("dense", "lanczos")
COVARIANCES = ("diagonal", "fourier")


@dataclass(frozen=True, kw_only=True)
class Approximate(Common):
    """What all of them are: a fit in a method. `objective` names what they report as such."""

    info: ClassVar[Any] = FitInfo
    objective: ClassVar[str | None] = None
    in_blocks: ClassVar[bool] = False
    fits: ClassVar[bool] = True

    warmup: int = 2000

    def fit(self, space: Space, target: Target) -> Fit:
        """The fit on a space."""
        raise NotImplementedError

    def method(self, space: Space, target: Target) -> Fitting:
        return Fitting(self.fit(space, target), self.thin)

    def copies(self) -> float:
        return self.fit(Space(()), nowhere).copies() - 2

    def schedule(self) -> FitSchedule:
        return fit_schedule(self.warmup, self.draws)

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        told = {
            "lp": np.asarray(info.log_density, np.float64),
            "n_steps": np.asarray(info.leapfrogs, np.int32),
            "converged": np.asarray(info.converged, bool),
            "failed": np.asarray(info.divergent, bool),
            "gradient_norm": np.asarray(info.gradient_norm, np.float64),
        }
        if self.objective is not None:
            told[self.objective] = np.asarray(info.objective, np.float64)
            told["log_weight"] = np.asarray(info.log_weight, np.float64)
        return told

    def _check_choice(self, option: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, option)
        if value not in choices:
            raise self._wrong(
                f"{option} must be one of {', '.join(choices)}, not {value!r}", f'"{choices[0]}" is usual'
            )

    def _check_positive(self, option: str, hint: str) -> None:
        self._check_real(option, "above 0", lambda x: 0 < x < math.inf, hint)


@dataclass(frozen=True, kw_only=True)
class MapOptions(Approximate):
    """The mode. optimiser: "lbfgs", "cg" (nonlinear conjugate gradients, which remembers nothing) or "adam".

    history: pairs that L-BFGS remembers, two vectors each. tolerance: see `ppl.infer.climb`. learning_rate: Adam's
    first step, in unconstrained units.
    """

    optimiser: str = "lbfgs"
    history: int = 10
    tolerance: float = 1e-8
    learning_rate: float = 0.05
    draws: int = 1
    name: ClassVar[str] = "map"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("optimiser", OPTIMISERS)
        self._check_integer("history", 1, 100)
        self._check_positive("tolerance", "1e-8 of the log density")
        self._check_positive("learning_rate", "0.05")

    def fit(self, space: Space, target: Target) -> Climb | AdamAscent:
        if self.optimiser == "adam":
            return AdamAscent(space, target, self.learning_rate, self.tolerance)
        way = Lbfgs(self.history) if self.optimiser == "lbfgs" else ConjugateGradient()
        return Climb(space, target, way, self.tolerance)


@dataclass(frozen=True, kw_only=True)
class CurvatureOptions(Approximate):
    """The second stage of `laplace`: the quadratic model where the chains stand."""

    curvature: str | None = None
    steps: int = 50
    warmup: int = 1
    name: ClassVar[str] = "laplace"
    objective: ClassVar[str | None] = "log_evidence"
    forward: ClassVar[bool] = True

    def fit(self, space: Space, target: Target) -> DenseLaplace | LanczosLaplace:
        packed = [s.name for s in space.sites] == [PACKED]
        if self.curvature == "dense" and not packed:
            raise Diagnostic(
                "argument",
                f"laplace: a dense curvature is for at most {MOST} latents on whole devices, not for {space.degrees}",
                hint='leave `curvature` out, or say curvature = "lanczos"',
            )
        if packed and self.curvature != "lanczos":
            return DenseLaplace(space, target)
        return LanczosLaplace(space, target, self.steps)

    def copies(self) -> float:
        """Of fields; a dense Hessian is of few latents, where nothing is short."""
        return LanczosLaplace(Space(()), nowhere, self.steps).copies() - 2


@dataclass(frozen=True, kw_only=True)
class LaplaceOptions(MapOptions):
    """The normal approximation at the mode, which `map` with the same options finds first.

    curvature: "dense" (a Hessian of at most 2048 latents, with the log evidence), "lanczos" (draws of fields from
    Hessian products alone); None: dense where it can be. steps: Lanczos steps of a draw, two Hessian products each.
    """

    curvature: str | None = None
    steps: int = 50
    draws: int = 1000
    name: ClassVar[str] = "laplace"
    objective: ClassVar[str | None] = "log_evidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.curvature is not None:
            self._check_choice("curvature", CURVATURES)
        self._check_integer("steps", 1, 10000)

    def stages(self) -> tuple[Common, ...]:
        shared = {"chains": self.chains, "block": self.block}
        mode = MapOptions(
            **shared,
            warmup=self.warmup,
            optimiser=self.optimiser,
            history=self.history,
            tolerance=self.tolerance,
            learning_rate=self.learning_rate,
        )
        return mode, CurvatureOptions(
            **shared, draws=self.draws, thin=self.thin, curvature=self.curvature, steps=self.steps
        )

    def copies(self) -> float:
        return max(stage.copies() for stage in self.stages())


@dataclass(frozen=True, kw_only=True)
class AdviOptions(Approximate):
    """Gaussian variational inference. rank: columns beside the diagonal (0: mean-field). samples: draws of a step.

    covariance: "diagonal", a scale for each latent, or "fourier", one for each band of wavenumbers of the fields that
    the model transforms along their dims (`ppl.infer.fourier`), and a later stage goes on with that metric.
    learning_rate: Adam's first step, in unconstrained units, or in those of the scales that an earlier stage found.
    """

    rank: int = 0
    covariance: str = "diagonal"
    samples: int = 1
    learning_rate: float = 0.05
    warmup: int = 10000
    block: int = 200
    name: ClassVar[str] = "advi"
    objective: ClassVar[str | None] = "elbo"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integer("rank", 0, 1000)
        self._check_integer("samples", 1, 1000)
        self._check_positive("learning_rate", "0.05")
        self._check_choice("covariance", COVARIANCES)
        if self.transforms and self.rank:
            raise self._wrong("a covariance in plane waves has no further columns", "leave rank out")

    @property
    def transforms(self) -> bool:
        return self.covariance == "fourier"

    def fit(self, space: Space, target: Target) -> Advi:
        if self.transforms and space.sites and space.spectra is None:
            raise self._wrong(NO_WAVES, f'covariance = "diagonal"; {WAVES}')
        return Advi(space, target, self.samples, self.rank, self.learning_rate, self.transforms)


@dataclass(frozen=True, kw_only=True)
class MgviOptions(Approximate):
    """Metric Gaussian variational inference; of the model it needs the Fisher information of every site.

    samples: pairs of mirrored draws that the mean is fitted to. tolerance: the mean has converged when a round moves it
    by fewer posterior standard deviations. accuracy: of the linear solutions behind draws, relative; iterations: of one
    at most. Warm-up's transitions are rounds.
    """

    samples: int = 8
    tolerance: float = 0.1
    accuracy: float = 1e-5
    iterations: int = 1000
    warmup: int = 50
    name: ClassVar[str] = "mgvi"
    objective: ClassVar[str | None] = "mean_lp"
    informed: ClassVar[bool] = True
    forward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integer("samples", 1, 1000)
        self._check_positive("tolerance", "0.1 posterior standard deviations")
        self._check_real("accuracy", "between 0 and 1", lambda x: 0 < x < 1, "1e-5")
        self._check_integer("iterations", 1, 100000)

    def fit(self, space: Space, target: Target) -> Mgvi:
        return self._fit(space, target, no_information())

    def _fit(self, space: Space, target: Target, information: Information) -> Mgvi:
        return Mgvi(space, target, information, self.samples, self.tolerance, self.accuracy, self.iterations)

    def method_informed(self, space: Space, target: Target, information: Information) -> Fitting:
        return Fitting(self._fit(space, target, information), self.thin)


@dataclass(frozen=True, kw_only=True)
class PathfinderOptions(Approximate):
    """The best normal approximation along an L-BFGS path, one path a chain.

    history: pairs of the approximation, two vectors each. samples: draws that an ELBO is estimated from.
    """

    history: int = 6
    samples: int = 10
    tolerance: float = 1e-8
    name: ClassVar[str] = "pathfinder"
    objective: ClassVar[str | None] = "elbo"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integer("history", 1, 100)
        self._check_integer("samples", 1, 1000)
        self._check_positive("tolerance", "1e-8 of the log density")

    def fit(self, space: Space, target: Target) -> Pathfinder:
        return Pathfinder(space, target, self.history, self.samples, self.tolerance)
