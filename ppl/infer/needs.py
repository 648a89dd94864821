"""What particles needed wherever a block evaluated the density: a proposal that is rejected leaves no other trace.

An algorithm sees a target's value and gradient, and NaN where devices held too little. What its program says of that
goes to a place that lies beside the algorithm while a block runs, and leaves with the block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import backend_cuda as backend
from ir.dims import CHAIN
from ir.ops.ownership import NEED

from ..execute import Executable
from ..limits import PREFIX, Exceeded, names_of
from ..report.finding import told_chains

if TYPE_CHECKING:
    from ..posterior import Posterior


@dataclass(frozen=True, eq=False)
class Needs:
    """Of a gradient program over chains; where it has no limits there is nothing to see."""

    gradient: Executable

    @cached_property
    def names(self) -> list[str]:
        return names_of(self.gradient.program) if self.gradient.plan.mesh.devices > 1 else []

    def place(self, chains: int) -> Any:
        """Where so many chains write what they need, of [chain, limit, (-step, load, cells, fill)] the largest."""
        return jax.new_ref(jnp.full((chains, len(self.names), 4), -np.inf, np.float64)) if self.names else None

    def write(self, place: Any, made: Mapping[str, jax.Array]) -> None:
        """What a device's block of the program put out, where it is beyond what was held."""
        if place is None:
            return
        rows = jnp.stack([self._row(name, made[name]) for name in self.names], axis=1)
        place[...] = jnp.maximum(place[...], lax.stop_gradient(rows))

    def read(self, place: Any) -> Any:
        """A leaf of a block's result, or none."""
        return place[...] if place is not None else ()

    def _row(self, name: str, need: jax.Array) -> jax.Array:
        program, plan = self.gradient.program, self.gradient.plan
        dims = program.results[name].type.names
        order = (CHAIN, *(d for d in dims if d not in (CHAIN, NEED.name)), NEED.name)
        need = jnp.transpose(need, [dims.index(d) for d in order]).astype(np.float64)
        need = need.reshape(need.shape[0], -1, NEED.size)
        # After the step that goes beyond there are no numbers.
        over = (need[..., :1] > 1) & (need[..., :1] < np.inf)
        step = -1.0 - jnp.arange(need.shape[1], dtype=np.float64)[:, None]
        rows = jnp.concatenate([jnp.broadcast_to(step, over.shape), need], axis=-1)
        most = jnp.max(jnp.where(over, rows, -np.inf), axis=1, initial=-np.inf)
        layout = plan.output_layout(program, name)
        axes = tuple(a for d, split in layout.splits if d != CHAIN for a in split)
        return self.gradient.collectives.all_reduce(most, axes, "max") if axes else most


@dataclass(eq=False)
class Met:
    """What the blocks of a run met beyond what devices hold: before draws were made, and while they were."""

    posterior: Posterior
    blocks: dict[bool, tuple[Executable, np.ndarray]] = field(default_factory=dict)
    """By whether draws were made: a gradient program, and the largest of what its blocks tell."""

    def add(self, gradient: Executable, needs: Any, draws: bool) -> None:
        if not isinstance(needs, tuple):
            before = self.blocks.get(draws, (gradient, -np.inf))[1]
            self.blocks[draws] = gradient, np.maximum(before, backend.to_host(needs))

    def report(self) -> tuple[dict[str, Any], list[str]]:
        """(attributes, notes) of the record: `beyond` says what proposals were rejected for while draws were made."""
        attrs, notes = {}, []
        for draws, (gradient, needs) in sorted(self.blocks.items()):
            for e in seen(self.posterior, gradient, needs):
                chains = told_chains(np.flatnonzero((needs[..., 1] > 1).any(axis=1)))
                manner = e.manner()
                do = f"with {e.written(manner)} they would not be" if manner else "no more room would hold them"
                told = f"proposals of {chains} were rejected for particles that devices do not hold, {e.told}; {do}"
                notes.append(f"{'while draws were made' if draws else 'before draws were made'}, {told}")
                attrs |= {"beyond": told} if draws else {}
        return attrs, notes


def seen(posterior: Posterior, gradient: Executable, needs: Any) -> list[Exceeded]:
    """The limits beyond which blocks of a posterior were, of what their places held."""
    found = []
    for k, name in enumerate(names_of(gradient.program)):
        step, load, cells, fill = np.max(np.asarray(needs)[:, k], axis=0)
        t = gradient.program.results[name].type
        stepped = set(t.names) - {CHAIN, NEED.name}
        steps = t.size // NEED.size // t[CHAIN]
        if load > 1:
            limit = posterior.limits[name.removeprefix(PREFIX)]
            found.append(Exceeded(limit, int(-step) if stepped else None, steps, load, cells, fill))
    return found


__all__ = ["Met", "Needs"]
