"""What every inference program's options have in common: their fields, checks and refusals.

An options record is frozen and checked when it is made. It says how the algorithm is called, how it is built for a
space and a target, how many copies of the latents it holds, and what happens at which transition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from ir.errors import Diagnostic

from .information import Information
from .protocol import Info, Method, Target
from .space import Space

STATISTICS = {
    "log_density": ("lp", np.float64),
    "energy": ("energy", np.float64),
    "accept_stat": ("acceptance_rate", np.float64),
    "divergent": ("diverging", bool),
    "leapfrogs": ("n_steps", np.int32),
    "step_size": ("step_size", np.float64),
}
"""Field of an info → ArviZ's name and the dtype that is stored."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """What all algorithms take.

    chains: independent chains. draws: kept transitions per chain are draws / thin. warmup: transitions before, in which
    the algorithm adapts, or comes to its approximation. thin: keep every thin-th draw. block: transitions per compiled
    block, between which checkpoints are written (the run rounds it to a multiple of thin); unless it is given,
    blocks of few latents grow to ten times as many while they take less than 0.2 s. only: names of the latents that
    move (unconstrained ones, as `Posterior.latents` has them); the others are held where they are. None: all.
    reproducible: sums have the same bits on every mesh, so that draws do (`ppl/README.md` says of which models), at
    twice to several times the cost; latents are then never packed.

    Programs are joined with `>>`: see `ppl.infer.stages`.
    """

    name: ClassVar[str]
    """How the program is called, in Python and in text."""
    info: ClassVar[Any] = Info
    """The NamedTuple that its blocks tell about transitions in."""
    packs: ClassVar[bool] = True
    """Whether it may be given few latents as one vector (`ppl.infer.pack`)."""
    in_blocks: ClassVar[bool] = True
    """Whether its transitions leave any target invariant, so that `gibbs` may use it for a block."""
    resumes: ClassVar[bool] = False
    """Whether, without a warm-up, it goes on from a handover as it would have from its own warm-up."""
    fits: ClassVar[bool] = False
    """Whether its draws come from an approximation: states between its blocks are then no draws of the posterior."""
    forward: ClassVar[bool] = False
    """Whether it takes forward derivatives of the target: its collectives are then `jax.lax`'s."""
    informed: ClassVar[bool] = False
    """Whether it is made by `method_informed`, with the Fisher information of the model."""
    pooled: ClassVar[bool] = False
    """Whether its chains are the particles of one population: a run shows their draws as those of one chain."""

    chains: int = 4
    draws: int = 1000
    warmup: int = 1000
    thin: int = 1
    block: int = 50
    only: tuple[str, ...] | None = None
    reproducible: bool = False
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The options that the user gave, which a program of several stages must not contradict."""

    @property
    def approached(self) -> float:
        """The number of latents up to which another sampler brings the chains to the bulk of the posterior first, and
        finds their metric (`ppl.infer.stages.prepared`)."""
        return 0

    @property
    def transforms(self) -> bool:
        """Whether it wants a space with planned transforms of its fields (`ppl.infer.fourier`)."""
        return False

    def __post_init__(self) -> None:
        self._check_integer("chains", 1)
        self._check_integer("draws", 1)
        self._check_integer("warmup", 0)
        self._check_integer("thin", 1)
        self._check_integer("block", 1)
        if not isinstance(self.reproducible, bool):
            raise self._wrong(f"reproducible must be true or false, not {self.reproducible!r}")
        if self.draws % self.thin:
            hint = f"draws = {self.draws - self.draws % self.thin or self.thin} would do"
            raise self._wrong(f"draws = {self.draws} is not a multiple of thin = {self.thin}", hint)
        if self.only is not None:
            object.__setattr__(self, "only", self._names("only"))

    def __rshift__(self, after: Common) -> Common:
        """This program, then the next: `map() >> nuts()`."""
        from .stages import join

        return join(self, after)

    def __str__(self) -> str:
        """As it is written beside a model: `nuts(draws = 500)`."""
        return self.written()

    def written(self, leave_out: tuple[str, ...] = ()) -> str:
        """The program as text, with the options that differ from their defaults."""
        defaults = {f.name: f.default for f in fields(self)}  # all of them plain values
        told = {n: x for n, x in self.settings().items() if n not in leave_out and x != defaults[n]}
        return f"{self.name}({', '.join(f'{n} = {option_text(x)}' for n, x in told.items())})"

    def settings(self) -> dict[str, Any]:
        """Every option with its value."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "given"}

    def method(self, space: Space, target: Target) -> Method:
        """The algorithm on a space."""
        raise NotImplementedError

    def method_informed(self, space: Space, target: Target, information: Information) -> Method:
        """The algorithm on a space, where it is `informed`."""
        raise NotImplementedError

    def stages(self) -> tuple[Common, ...]:
        """The stages of the program, each of which starts where the one before ended; only the last one's draws are
        kept."""
        return (self,)

    def copies(self) -> float:
        """Vectors like the latents that a run holds beside the target's own arguments (position and gradient)."""
        raise NotImplementedError

    def schedule(self) -> Any:
        """What happens at each of warmup + draws transitions: a NamedTuple of [warmup + draws] arrays with a method
        `part(start, length)`, padded past the end."""
        raise NotImplementedError

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        """The algorithm's statistics of transitions under ArviZ's names."""
        told = {f: np.asarray(getattr(info, f)) for f in info._fields if f in STATISTICS}
        return {STATISTICS[f][0]: x.astype(STATISTICS[f][1]) for f, x in told.items()}

    def report(self, infos: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
        """What the whole run tells, from the infos of all blocks of its last stage: attributes of the result, notes."""
        return {}, []

    def _wrong(self, message: str, hint: str | None = None) -> Diagnostic:
        return Diagnostic("argument", f"{self.name}: {message}", hint=hint)

    def _names(self, option: str) -> tuple[str, ...]:
        """An option that holds names: one, or several of which none comes twice."""
        value = getattr(self, option)
        names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
        if not names or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
            told = option_text(tuple(value) if isinstance(value, list) else value)
            raise self._wrong(f"{option} must be a list of different names, not {told}", f"write {option} = [mu, tau]")
        return names

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


def option_text(value: Any) -> str:
    """An option's value as the language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(option_text, value))}]"
    if isinstance(value, str) and not value.isidentifier():
        return f'"{value}"'
    return str(value) if isinstance(value, str | Common) else repr(value)
