"""Draws from the prior and of what it predicts, one after the other, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ir.errors import Diagnostic

from ..execute import Executable
from ..limits import Beyond, enlarged, exceeded, names_of
from ..pipeline import keep
from .start import PRIOR, keys

if TYPE_CHECKING:
    from ..posterior import Posterior

_PREDICTIVE = "predictive:"


@dataclass(eq=False)
class PriorDraws:
    """What a model says before it sees observations, planned like its posterior.

    A draw is a function of the seed and its number; those of a run's report are the same. There are none of quantities
    that depend on an improper prior.
    """

    posterior: Posterior
    notes: list[str] = field(default_factory=list)
    """What is to be told of the draws so far."""

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
        return self.posterior.executable(keep(program, [*self._names.values(), *names_of(program)]))

    @property
    def types(self) -> dict[str, tuple[tuple[str, ...], tuple[int, ...], np.dtype]]:
        """(dims, shape, dtype) of each quantity."""
        values = dict(self._executable.program.outputs)
        found = {name: values[output].type for name, output in self._names.items()}
        return {name: (t.names, t.shape, np.dtype(t.numpy)) for name, t in found.items()}

    def draw(self, seed: int, count: int = 1) -> Iterator[dict[str, np.ndarray]]:
        """Draw by draw, all quantities by name.

        Where a draw has particles beyond what devices hold, it and those after it are made with more room (`notes`).
        """
        for i in range(count):
            made = self._drawn(seed, i, count < 4)
            yield {name: np.asarray(made[output]) for name, output in self._names.items()}

    def _drawn(self, seed: int, i: int, hasty: bool) -> dict[str, np.ndarray]:
        tries = 0
        while True:
            executable = self._executable
            made = executable.run({**self.posterior.bound.data, "key": keys(seed, PRIOR, i)}, hasty=hasty)
            found = exceeded(self.posterior, executable.program, made)
            if not found:
                return made
            try:
                self.posterior, tries = enlarged(self.posterior, found, tries), tries + 1
            except Beyond as beyond:
                self.notes.append(f"draw {i}: {beyond.message}")
                return made
            del self._executable
            self.notes += [f"draw {i}: {note}" for note in self.posterior.bound.notes[-len(found) :]]


__all__ = ["PriorDraws"]
