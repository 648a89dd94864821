"""The compiled block of sampler steps: the planned gradient and the sampler inside one SPMD program.

The host drives blocks; between them it stores draws and shows progress. All that a block reads and writes is a tree of
stored arrays whose layouts follow the plan: vectors in the latents' layouts, chain scalars along the chain axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import DictKey, tree_map_with_path

import backend_cuda as backend
from ir import counter
from ir.dims import CHAIN
from ir.layout import block_shape

from ..execute import Executable
from . import block as transitions
from .adapt import Adapt, Schedule, start_adapt
from .program import Common
from .protocol import State
from .space import Site, Space


def space_of(gradient: Executable) -> Space:
    """The vector space of a gradient program's latents, laid out by its plan."""
    plan, program = gradient.plan, gradient.program
    sites, split, chain_axes, chains = [], set(), (), 1
    for i in program.inputs_of("latent"):
        layout = plan.layouts[i.name]
        shape = dict(zip(i.type.names, block_shape(i.type, layout, plan.mesh), strict=True))
        chain_axes, chains = layout.axes(CHAIN), shape[CHAIN]
        rest = [d for d in i.type.names if d != CHAIN]
        axes = tuple(layout.axes(d) for d in rest)
        split |= {a for held in axes for a in held}
        sizes = tuple(i.type[d] for d in rest)
        sites.append(Site(i.name, sizes, tuple(shape[d] for d in rest), axes, i.type.numpy))
    reduce_axes = tuple(a for a in plan.mesh.names if a in split)
    return Space(tuple(sites), chains, reduce_axes, chain_axes)


@dataclass(frozen=True, eq=False)
class Engine:
    """A sampler on a planned posterior: `start` gives the first state, `advance` runs one block of transitions.

    `collect` gives what is kept of a draw (see `ppl.infer.keep`): an `Executable` whose latents lie as the gradient's,
    or None for the unconstrained latents themselves.
    """

    gradient: Executable
    data: dict[str, jax.Array]
    options: Common
    length: int
    collect: Executable | None = None
    collect_data: dict[str, jax.Array] | None = None

    @cached_property
    def space(self) -> Space:
        return space_of(self.gradient)

    @property
    def latents(self) -> list[str]:
        return [i.name for i in self.gradient.program.inputs_of("latent")]

    def start(self, position: dict[str, jax.Array]) -> State:
        """The state of chains at stored positions: log density and gradient there."""
        made = self.gradient.run({**self.data, **position}, stored=True)
        with jax.enable_x64(True):
            step = self._place(jnp.zeros(made["log_density"].shape, jnp.uint32))
        return State(position, {n: made[f"grad:{n}"] for n in self.latents}, made["log_density"], step)

    def first_adapt(self) -> Adapt:
        """Adaptation before the first transition, as stored arrays."""
        with jax.enable_x64(True):
            return self._place(self._first_adapt())

    def _place(self, tree: Any) -> Any:
        """Arrays with the shardings that a block returns them with: otherwise the second block is compiled anew."""
        specs, devices = self._specs(tree), self.gradient.devices
        placed = jax.tree.map(lambda s: NamedSharding(devices, s), specs, is_leaf=lambda s: isinstance(s, P))
        return jax.device_put(tree, placed)

    @cached_property
    def _first_adapt(self) -> Any:
        make = lambda: start_adapt(self.space, self.options.step_size)  # noqa: E731
        specs = self._specs(jax.eval_shape(make))
        return jax.jit(backend.spmd(make, self.gradient.plan.mesh, self.gradient.devices, (), specs))

    def advance(self, seed: int, state: State, adapt: Adapt, schedule: Schedule, limit: int) -> transitions.Block:
        """At most `limit` transitions of every chain; the schedule has the block's length."""
        with jax.enable_x64(True):
            words = tuple(np.uint32(w) for w in counter.seed_key(seed))
            flags = Schedule(*(np.asarray(f, bool) for f in schedule))
            return self._compiled(words, state, adapt, flags, np.int32(limit), *self._extra())

    def lowered(self) -> Any:
        """A block lowered by JAX for abstract arguments: `.as_text()` is StableHLO, `.compile()` XLA's."""
        with jax.enable_x64(True):
            adapt = jax.eval_shape(self._first_adapt)
            vector, scalar = adapt.inverse_mass, adapt.step_size
            state = State(vector, vector, scalar, jax.ShapeDtypeStruct(scalar.shape, "uint32"))
            flags = Schedule(*(np.zeros(self.length, bool) for _ in Schedule._fields))
            return self._compiled.lower((np.uint32(0),) * 2, state, adapt, flags, np.int32(1), *self._extra())

    def _extra(self) -> list[jax.Array]:
        held = [self.data[i.name] for i in self.gradient.program.inputs if i.role == "data"]
        if self.collect is not None:
            held += [(self.collect_data or {})[i.name] for i in self.collect.program.inputs if i.role == "data"]
        return held

    def _body(self, words: Any, state: State, adapt: Adapt, schedule: Schedule, limit: Any, *extra: jax.Array):
        inputs = self.gradient.program.inputs
        count = sum(i.role == "data" for i in inputs)
        mine, theirs = list(extra[:count]), list(extra[count:])

        def target(position: dict[str, jax.Array]):
            data = iter(mine)
            made = self.gradient.block(*(position[i.name] if i.role == "latent" else next(data) for i in inputs))
            return made["log_density"], {n: made[f"grad:{n}"] for n in self.latents}

        keep = None
        if self.collect is not None:
            wanted = self.collect.program.inputs

            def keep(position: dict[str, jax.Array]) -> dict[str, jax.Array]:
                data = iter(theirs)
                return self.collect.block(*(position[i.name] if i.role == "latent" else next(data) for i in wanted))

        kernel = self.options.kernel(self.space, target)  # type: ignore[attr-defined]
        return transitions.run(
            *(kernel, words, state, adapt, schedule),
            limit=limit,
            target_accept=self.options.target_accept,
            collect=keep,
            thin=self.options.thin,
        )

    @cached_property
    def _compiled(self) -> Any:
        mesh, devices = self.gradient.plan.mesh, self.gradient.devices
        if mesh.devices == 1:
            return jax.jit(self._body, donate_argnums=(1, 2), compiler_options=self.gradient.options)
        state = State({n: 0 for n in self.latents}, {n: 0 for n in self.latents}, 0, 0)
        adapt = jax.eval_shape(lambda: start_adapt(self.space, 1.0))
        schedule = Schedule(P(), P(), P(), P())
        specs = (
            (P(), P()), self._specs(state), self._specs(adapt), schedule, P(),
            *(s for i, s in zip(self.gradient.program.inputs, self.gradient.in_specs, strict=True) if i.role == "data"),
        )  # fmt: skip
        if self.collect is not None:
            held = zip(self.collect.program.inputs, self.collect.in_specs, strict=True)
            specs += tuple(s for i, s in held if i.role == "data")
        chain = self._chain_spec()
        draws = {n: P(s[0] if len(s) else None, None, *s[1:]) for n, s in self.draw_specs().items()}
        out = transitions.Block(self._specs(state), self._specs(adapt), draws, _like(transitions.Info, chain))
        whole = backend.spmd(self._body, mesh, devices, specs, out)
        return jax.jit(whole, donate_argnums=(1, 2), compiler_options=self.gradient.options)

    def draw_specs(self) -> dict[str, P]:
        """How each kept quantity of one draw is split, chain first."""
        if self.collect is not None:
            return self.collect.out_specs
        return {
            i.name: s
            for i, s in zip(self.gradient.program.inputs, self.gradient.in_specs, strict=True)
            if i.role == "latent"
        }

    def _chain_spec(self) -> P:
        axes = self.space.chain_axes
        return P(axes if len(axes) > 1 else axes[0]) if axes else P(None)

    def _specs(self, tree: Any) -> Any:
        """Partition specs of a tree: latents' blocks by name, everything else along the chain axes."""
        vectors = dict(zip((i.name for i in self.gradient.program.inputs), self.gradient.in_specs, strict=True))
        chain = self._chain_spec()

        def one(path: Any, _: Any) -> P:
            names = [k.key for k in path if isinstance(k, DictKey)]
            return vectors[names[-1]] if names and names[-1] in vectors else chain

        return tree_map_with_path(one, tree)


def _like(kind: Any, spec: P) -> Any:
    return kind(*(spec for _ in kind._fields))


__all__ = ["Engine", "space_of"]
