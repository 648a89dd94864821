"""What is computed of draws beside them: predictions, generated quantities, log likelihoods; and draws of the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ir.dims import CHAIN
from ir.layout import Layout

from ..limits import exceeded, names_of
from .keep import DRAWS_BYTES, Kept, generated, prediction_program
from .mapped import Mapped
from .start import PREDICT, PRIOR, keys

if TYPE_CHECKING:
    from ..posterior import Posterior


class After:
    """What is computed of stored draws after each block: predictions, generated quantities, log likelihoods."""

    def __init__(self, parts: list[tuple[Mapped, dict[str, tuple[str, str]]]], notes: list[str]):
        self.parts, self.notes = parts, notes

    @classmethod
    def make(cls, posterior: Posterior, kept: Kept, fixed: Mapping[str, Layout], chains: int, draws: int) -> After:
        own = set(generated(posterior))
        parts, notes = [], []
        for what, prefix, group in (
            ("predict", "predictive:", "posterior_predictive"),
            ("density", "log_likelihood:", "log_likelihood"),
        ):
            program = posterior.program(what)
            wanted: dict[str, tuple[str, str]] = {}
            for name, value in program.outputs:
                if not (name.startswith(prefix) or (what == "predict" and name in own)):
                    continue
                short = name.removeprefix(prefix)
                if value.type.size * value.type.itemsize * chains * draws > DRAWS_BYTES:
                    notes.append(f"{group} of '{short}' is left out: its draws would not fit")
                    continue
                wanted[name] = (group, short)
            if wanted:
                program = prediction_program(posterior, list(wanted), what, chains)
                inputs = {i.name for i in program.inputs}
                used = {n: layout for n, layout in fixed.items() if n in inputs}
                executable = posterior.executable(program, used)
                over = tuple(i.name for i in program.inputs if i.role in ("latent", "key"))
                parts.append((Mapped(executable, over, 1), wanted))
        return cls(parts, notes)

    def types(self) -> dict[str, dict[str, Any]]:
        """Group → name → type without the chain dim."""
        found: dict[str, dict[str, Any]] = {}
        for mapped, wanted in self.parts:
            for name, value in mapped.executable.program.outputs:
                group, short = wanted[name]
                found.setdefault(group, {})[short] = value.type.without([CHAIN])
        return found

    def run(
        self, posterior: Posterior, made: Mapping[str, jax.Array], seed: int, first: int, rows: int
    ) -> dict[str, dict[str, Any]]:
        """Of the first `rows` draws of a block, whose latents `free:NAME` lie on the devices as the programs take them;
        `first` draws were before."""
        found: dict[str, dict[str, Any]] = {}
        free = {n.removeprefix("free:"): x for n, x in made.items() if n.startswith("free:")}
        # All rows are computed, so that a shorter last block needs no programs of its own.
        block = next(iter(free.values())).shape[1]
        for mapped, wanted in self.parts:
            chains = mapped.executable.program.input(mapped.over[0]).type[CHAIN]
            key = keys(seed, PREDICT, np.arange(chains)[:, None], first + np.arange(block)[None, :])
            for name, x in mapped.run({**posterior.bound.data, **free, "key": key}).items():
                group, short = wanted[name]
                found.setdefault(group, {})[short] = x[:, :rows]
        return found


def prior_draws(
    posterior: Posterior, seed: int, draws: int, notes: list[str] | None = None
) -> dict[str, dict[str, tuple[tuple[str, ...], np.ndarray]]]:
    """Draws from the prior and the prior predictive: group → name → (dims, array[1, draw, ...]).

    The notes are told where some of them have particles beyond what devices hold, and so are no numbers.
    """
    from ..pipeline import keep as restrict

    program = posterior.program("prior")
    hidden = {n.op.site for n in posterior.bound.program.walk() if getattr(n.op, "saved", True) is False}
    wanted: dict[str, tuple[str, str]] = {}
    for name, value in program.outputs:
        small = value.type.size * value.type.itemsize * draws <= DRAWS_BYTES
        if name.startswith("predictive:") and small:
            wanted[name] = ("prior_predictive", name.removeprefix("predictive:"))
        elif ":" not in name and small and name not in hidden and not value.type.is_complex:
            wanted[name] = ("prior", name)
    if not wanted:
        return {}
    cache = posterior.__dict__.setdefault("_priors", {})
    if draws not in cache:
        cache[draws] = Mapped(posterior.executable(restrict(program, [*wanted, *names_of(program)])), ("key",), 0)
    executable = cache[draws].executable
    made = cache[draws].run({**posterior.bound.data, "key": keys(seed, PRIOR, np.arange(draws))})
    if notes is not None:
        for e in exceeded(posterior, executable.program, made):
            do = f", which {e.written(manner)} would hold" if (manner := e.manner()) else ""
            notes.append(f"draws from the prior are not a number where devices hold too little: {e.told}{do}")
    found: dict[str, dict[str, tuple[tuple[str, ...], np.ndarray]]] = {}
    for name, value in executable.program.outputs:
        if name not in wanted:
            continue
        group, short = wanted[name]
        found.setdefault(group, {})[short] = (value.type.names, made[name][None])
    return found
