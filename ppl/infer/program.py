"""Inference programs as their users write them: frozen options, checked when they are made.

`nuts(chains=4, draws=1000)` in Python and `infer nuts { draws = 1000 }` in a model file make the same record; the text
goes through `from_options`. A misspelt or foreign option is a `Diagnostic` that names ours.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import jax

from ir.errors import Diagnostic, InternalError

from .adapt import Schedule, make_schedule
from .hmc import Hmc
from .nuts import Nuts
from .protocol import Kernel, Target
from .space import Space, Vector

FOREIGN = {
    **dict.fromkeys(("num_samples", "n_samples", "samples", "num_draws", "iter_sampling", "iterations"), "draws"),
    **dict.fromkeys(("num_warmup", "n_warmup", "tune", "num_tune", "iter_warmup", "burnin", "burn_in"), "warmup"),
    **dict.fromkeys(("num_chains", "n_chains", "nchains"), "chains"),
    **dict.fromkeys(("target_accept_prob", "target_accept_rate", "adapt_delta", "delta"), "target_accept"),
    **dict.fromkeys(("max_tree_depth", "max_treedepth", "treedepth", "max_doublings"), "max_depth"),
    **dict.fromkeys(("thinning", "thin_by"), "thin"),
    **dict.fromkeys(("stepsize", "epsilon", "eps"), "step_size"),
    **dict.fromkeys(("num_steps", "n_leapfrog", "num_leapfrog", "num_integration_steps", "n_steps"), "steps"),
    **dict.fromkeys(("block_size", "chunk_size"), "block"),
}
"""Other libraries' spellings of our options."""

_ELSEWHERE = {
    **dict.fromkeys(
        ("seed", "random_seed", "rng_key", "rng_seed", "key"),
        "the seed belongs to the run: posterior.run(nuts(...), seed=0), or --seed 0",
    ),
    **dict.fromkeys(
        ("cores", "chain_method", "parallel"),
        "how chains are spread over devices is the plan's: pin the dim 'chain', or leave it to the planner",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Common:
    """What all gradient samplers of this module take.

    chains: independent chains. draws: kept transitions per chain are draws / thin. warmup: adapting transitions before.
    target_accept: mean acceptance that warm-up aims at. thin: keep every thin-th draw. step_size: `None` to search for
    one and, if there is a warm-up, to adapt it from there; a number is where adaptation starts. block: transitions per
    compiled block, between which checkpoints are written (the run rounds it to a multiple of thin).
    """

    name: ClassVar[str]
    """How the program is called, in Python and in text."""

    chains: int = 4
    draws: int = 1000
    warmup: int = 1000
    target_accept: float = 0.8
    thin: int = 1
    step_size: float | None = None
    block: int = 50

    def __post_init__(self) -> None:
        self._check_integer("chains", 1)
        self._check_integer("draws", 1)
        self._check_integer("warmup", 0)
        self._check_integer("thin", 1)
        self._check_integer("block", 1)
        self._check_real("target_accept", "between 0 and 1", lambda a: 0 < a < 1, "0.8; 0.95 if there are divergences")
        if self.step_size is not None:
            self._check_real("step_size", "above 0", lambda e: 0 < e < math.inf, "leave it out to search for one")
        if self.draws % self.thin:
            hint = f"draws = {self.draws - self.draws % self.thin or self.thin} would do"
            raise self._wrong(f"draws = {self.draws} is not a multiple of thin = {self.thin}", hint)

    def kernel(self, space: Space, target: Target) -> Kernel:
        """The kernel of these options on a space."""
        raise NotImplementedError

    def copies(self) -> float:
        """Vectors like the latents that a run holds beside the target's own arguments (position and gradient)."""
        return self.kernel(Space(()), _nowhere).copies() - 2

    def schedule(self) -> Schedule:
        """What happens after each of warmup + draws transitions."""
        return make_schedule(self.warmup, self.draws)

    def _wrong(self, message: str, hint: str | None = None) -> Diagnostic:
        return Diagnostic("argument", f"{self.name}: {message}", hint=hint)

    def _check_integer(self, option: str, least: int, most: int | None = None) -> None:
        value = getattr(self, option)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(f"{option} must be a whole number, not {value!r}", f"{option} = {least} or more")
        if value < least or (most is not None and value > most):
            limits = f"at least {least}" if most is None else f"between {least} and {most}"
            raise self._wrong(
                f"{option} must be {limits}, not {value}", f"{option} = {least if value < least else most} would do"
            )

    def _check_real(self, option: str, limits: str, holds: Callable[[float], bool], hint: str) -> None:
        value = getattr(self, option)
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise self._wrong(f"{option} must be a number {limits}, not {value!r}", hint)


@dataclass(frozen=True, kw_only=True)
class NutsOptions(Common):
    """The no-U-turn sampler.

    max_depth: a trajectory has at most 2^max_depth - 1 leapfrogs. half_checks: Stan's tests of half-trajectories too,
    at the price of one more copy of the latents per level.
    """

    max_depth: int = 10
    half_checks: bool = True
    name: ClassVar[str] = "nuts"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integer("max_depth", 1, 20)

    def kernel(self, space: Space, target: Target) -> Nuts:
        """The kernel of these options on a space."""
        return Nuts(space, target, self.max_depth, self.half_checks)


@dataclass(frozen=True, kw_only=True)
class HmcOptions(Common):
    """Hamiltonian Monte Carlo. steps: mean number of leapfrogs; jitter: their relative half-range, in [0, 1]."""

    steps: int = 10
    jitter: float = 0.5
    name: ClassVar[str] = "hmc"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integer("steps", 1)
        self._check_real("jitter", "in [0, 1]", lambda j: 0 <= j <= 1, "0.5 draws 50 % to 150 % of `steps`")

    def kernel(self, space: Space, target: Target) -> Hmc:
        """The kernel of these options on a space."""
        return Hmc(space, target, self.steps, self.jitter)


def _nowhere(position: Vector) -> tuple[jax.Array, Vector]:
    """A target that is never evaluated: a kernel states its copies without one."""
    raise InternalError("a kernel evaluated its target to count its copies")


_PROGRAMS: dict[str, type[Common]] = {"nuts": NutsOptions, "hmc": HmcOptions}


def nuts(**options: Any) -> NutsOptions:
    """The no-U-turn sampler: `nuts(chains=4, draws=1000, warmup=1000, target_accept=0.8, max_depth=10, thin=1)`."""
    return from_options("nuts", options)  # type: ignore[return-value]


def hmc(**options: Any) -> HmcOptions:
    """Hamiltonian Monte Carlo: `hmc(steps=10, jitter=0.5)` and the options that all samplers share."""
    return from_options("hmc", options)  # type: ignore[return-value]


def from_options(name: str, options: Mapping[str, Any]) -> Common:
    """The options record of the program `name`; raises `Diagnostic` for what it does not know."""
    if name not in _PROGRAMS:
        near = difflib.get_close_matches(name.lower(), _PROGRAMS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(_PROGRAMS)}"
        raise Diagnostic("argument", f"unknown inference program '{name}'", hint=hint)
    known = [f.name for f in fields(_PROGRAMS[name])]
    for option in options:
        if option not in known:
            raise Diagnostic("argument", f"{name} has no option '{option}'", hint=_option_hint(option, known))
    return _PROGRAMS[name](**options)


def _option_hint(option: str, known: list[str]) -> str:
    plain = option.lower()
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    if FOREIGN.get(plain) in known:
        return f"did you mean '{FOREIGN[plain]}'?"
    owners = [n for n, program in _PROGRAMS.items() if plain in {f.name for f in fields(program)}]
    if owners and plain not in known:
        return f"'{plain}' is an option of {' and '.join(owners)}"
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"its options are: {', '.join(known)}"
