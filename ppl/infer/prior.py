"""Draws from the prior and of what it predicts, one after the other, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ir.errors import Diagnostic

from ..execute import Executable
from ..limits import exceeded
from ..pipeline import keep
from .start import PRIOR, keys

if TYPE_CHECKING:
    from ..posterior import Posterior

_PREDICTIVE, _FREE = "predictive:", "free:"


@dataclass(frozen=True, eq=False)
class PriorDraws:
    """What a model says before it sees observations, planned like its posterior.

    A draw is a function of the seed and its number; those of a run's report are the same. There are none of quantities
    that depend on an improper prior.
    """

    posterior: Posterior

    @cached_property
    def _names(self) -> dict[str, str]:
        """Outputs of the prior's program, by the quantity that each is of."""
        program = self.posterior.program("prior")
        sites = self.posterior.bound.program.walk()
        hidden = {getattr(n.op, "site", "") for n in sites if getattr(n.op, "saved", True) is False}
        found = {
            n.removeprefix(_PREDICTIVE): n for n, _ in program.outputs if ":" not in n or n.startswith(_PREDICTIVE)
        }
        return {name: output for name, output in found.items() if name not in hidden}

    @cached_property
    def _executable(self) -> Executable:
        program = self.posterior.program("prior")
        if not self._names:
            hint = "a quantity with ~ that is not declared as data is drawn, and so is what the model observes"
            raise Diagnostic("type", "the model has nothing to draw", hint=hint)
        return self.posterior.executable(keep(program, list(self._names.values())))

    @property
    def types(self) -> dict[str, tuple[tuple[str, ...], tuple[int, ...], np.dtype]]:
        """(dims, shape, dtype) of each quantity."""
        values = dict(self._executable.program.outputs)
        found = {name: values[output].type for name, output in self._names.items()}
        return {name: (t.names, t.shape, np.dtype(t.numpy)) for name, t in found.items()}

    def draw(self, seed: int, count: int = 1) -> Iterator[dict[str, np.ndarray]]:
        """Draw by draw, all quantities by name."""
        for i in range(count):
            made = self._executable.run({**self.posterior.bound.data, "key": keys(seed, PRIOR, i)}, hasty=count < 4)
            yield {name: np.asarray(made[output]) for name, output in self._names.items()}

    def beyond(self, seed: int, i: int) -> list[str]:
        """Which limits of the model draw i goes beyond, and what would hold it: where something in it is no number."""
        program = self.posterior.program("prior")
        free = [n for n, _ in program.outputs if n.startswith(_FREE)]
        if not free:
            return []
        executable = self.posterior.executable(keep(program, free))
        made = executable.run({**self.posterior.bound.data, "key": keys(seed, PRIOR, i)}, hasty=True)
        return exceeded(self.posterior, {n.removeprefix(_FREE): x for n, x in made.items()})


__all__ = ["PriorDraws"]
