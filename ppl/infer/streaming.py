"""Moments and tracers of quantities whose draws are too large to keep, made on the devices block by block.

After a block, a second small program reads the rows of these quantities where they lie: it adds every draw to the
running mean and sum of squares of its chain, and traces it (`ppl.infer.tracers_of`). Only the tracers travel to the
host; the moments do once, at the end, chain by chain.

Updates (Welford 1962): n += 1, delta = x - mean, square += delta^2 (n - 1) / n, mean += delta / n. The mean is float64,
since the increments of a long run vanish beside a float32 mean. The squares are a sum of positive terms in the
quantity's own dtype: of n draws in float32 it is wrong by about n^(1/2) 2^-24, and stops growing after 2^24 draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import backend_cuda as backend
from ir.dims import CHAIN, TensorType
from ir.graph import Value

from ..execute import Executable
from .engine import site_of
from .space import Site
from .tracers_of import powers, trace, tracer_specs


class Moments(NamedTuple):
    """Of a quantity, per chain: the mean of draws, and the sum of squares about it."""

    mean: jax.Array  # float64[C, ...]
    square: jax.Array  # [C, ...] in the quantity's dtype


def moment_bytes(types: Mapping[str, TensorType]) -> int:
    """Bytes of the moments of one chain."""
    return sum(t.size * (8 + t.itemsize) for t in types.values())


@dataclass(frozen=True, eq=False)
class Reduction:
    """The program that takes in a block's rows: of the outputs of `collect` that are named."""

    collect: Executable
    names: tuple[str, ...]

    @cached_property
    def sites(self) -> dict[str, Site]:
        plan, program = self.collect.plan, self.collect.program
        layouts = {n: plan.output_layout(program, n) for n in self.names}
        return {n: site_of(n, self.value(n).type, layouts[n], plan.mesh) for n in self.names}

    def value(self, name: str) -> Value:
        return self.collect.program.results[name]

    def empty(self) -> dict[str, Moments]:
        """No draws yet, as stored arrays."""
        with jax.enable_x64(True):
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype, device=x.sharding), self.abstract())

    def abstract(self) -> dict[str, Moments]:
        """The moments as they are stored, without their values."""
        plan, made = self.collect.plan, {}
        for name in self.names:
            t, split = self.value(name).type, NamedSharding(self.collect.devices, self.collect.out_specs[name])
            shape = backend.stored_shape(t, plan.output_layout(self.collect.program, name), plan.mesh)
            made[name] = Moments(*(jax.ShapeDtypeStruct(shape, k, sharding=split) for k in (np.float64, t.numpy)))
        return made

    def lowered(self, draws: Mapping[str, Any]) -> Any:
        """The program lowered by JAX for the abstract rows of a block."""
        with jax.enable_x64(True):
            rows = {n: draws[n] for n in self.names}
            return self._compiled.lower(self.abstract(), rows, np.int32(0), np.int32(1))

    def add(
        self, moments: dict[str, Moments], draws: Mapping[str, jax.Array], before: int, rows: int
    ) -> tuple[dict[str, Moments], dict[str, jax.Array]]:
        """The moments with the first `rows` of the rows [C, K, ...] taken in, `before` draws having been before, and
        the tracers of all rows, [C, K, ...]. The moments given are used up."""
        with jax.enable_x64(True):
            return self._compiled(moments, {n: draws[n] for n in self.names}, np.int32(before), np.int32(rows))

    def _body(
        self, moments: dict[str, Moments], draws: dict[str, jax.Array], before: jax.Array, rows: jax.Array
    ) -> tuple[dict[str, Moments], dict[str, jax.Array]]:
        tracers, found = {}, {}
        for name, site in self.sites.items():
            x = draws[name]
            flat = x.reshape(-1, *x.shape[2:])
            own = trace(site, flat)
            axes = tuple(a for held in site.split for a in held)
            own = (lax.psum(own, axes) if axes else own) | powers(site, flat)
            tracers |= {n: v.reshape(*x.shape[:2], *v.shape[1:]) for n, v in own.items()}

            def one(k: jax.Array, moments: Moments, x: jax.Array = x) -> Moments:
                count = (before + k + np.int32(1)).astype(jnp.float64)
                return _update(moments, lax.dynamic_index_in_dim(x, k, axis=1, keepdims=False), count)

            found[name] = lax.fori_loop(np.int32(0), rows, one, moments[name])
        return found, tracers

    @cached_property
    def _compiled(self) -> Any:
        specs = {n: self.collect.out_specs[n] for n in self.names}
        chain = {n: s[0] if len(s) else None for n, s in specs.items()}
        moments = {n: Moments(s, s) for n, s in specs.items()}
        rows = {n: P(chain[n], None, *s[1:]) for n, s in specs.items()}
        types = {n: self.value(n).type.without([CHAIN]) for n in self.names}
        tracers = {t: P(chain[n]) for n in self.names for t in tracer_specs(n, types[n])}
        whole = backend.spmd(
            self._body, self.collect.plan.mesh, self.collect.devices, (moments, rows, P(), P()), (moments, tracers)
        )
        return jax.jit(whole, donate_argnums=(0,), compiler_options=self.collect.options)


class Running:
    """The moments of one run."""

    def __init__(self, reduction: Reduction, chains: int):
        self.reduction, self.chains = reduction, chains
        self.held: tuple[dict[str, Moments], int] | None = None

    def add(self, draws: Mapping[str, jax.Array], rows: int) -> dict[str, np.ndarray]:
        """Takes in the first `rows` of a block's rows; gives their tracers, [chain, draw, ...]."""
        moments, count = self.held or (self.reduction.empty(), 0)
        moments, tracers = self.reduction.add(moments, draws, count, rows)
        self.held = moments, count + rows
        return {n: np.asarray(x)[: self.chains, :rows] for n, x in tracers.items()}

    def finish(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation over all draws of all chains, float64; NaN where there are too few."""
        return {n: self._merged(n) for n in self.reduction.names}

    def _merged(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The chains' moments, merged one by one (Chan et al. 1983): the host holds one chain beside the result."""
        t = self.reduction.value(name).type.without([CHAIN])
        if self.held is None:
            return np.full(t.shape, np.nan), np.full(t.shape, np.nan)
        (moments, count), number = self.held, 0
        mean, square = np.zeros(t.shape), np.zeros(t.shape)
        for chain in range(self.chains):
            with jax.enable_x64(True):
                one = [backend.gather(x[chain], t).astype(np.float64) for x in moments[name]]
            delta = one[0] - mean
            mean += delta * (count / (number + count))
            square += one[1] + np.square(delta) * (number * count / (number + count))
            number += count
        return mean, np.sqrt(square / (number - 1)) if number > 1 else np.full(t.shape, np.nan)


def _update(moments: Moments, x: jax.Array, count: jax.Array) -> Moments:
    delta = x.astype(jnp.float64) - moments.mean
    more = jnp.square(delta) * ((count - 1) / count)
    return Moments(moments.mean + delta / count, moments.square + more.astype(moments.square.dtype))
