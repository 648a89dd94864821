"""Algorithms on posteriors that are laid out over meshes: what every cell of `test_meshes.py` runs.

Two posteriors, of counts or of real data (then Gaussian):
`field`: s ~ N(0, 1), x[9, 11] ~ N(s, 0.5), r[11] ~ N(mean over rows of x, 1), counts ~ Poisson(exp x), or data of x
with errors that differ by element. A mesh splits x along rows and columns and r along columns, unevenly, and holds s,
and copies of r along rows, on every device.
`whole`: w[3] ~ N(0, 1), counts[9, 11] ~ Poisson(exp(w · (1, i/9, j/11))), or noise of deviation 1. A mesh splits the
data only: the latents are packed into one vector.

Sums over elements are made in the posterior's dtype, so that they differ from mesh to mesh as those of a compiled
program; the log density is summed in float64 as there.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from ir import counter
from ir.grid_sum import grid_sum
from ppl.infer.metric import Diagonal
from ppl.infer.pack import Packing, packing
from ppl.infer.protocol import Handover, State
from ppl.infer.space import Site, Space
from tests.infer import drive

KEY = counter.seed_key(23)
SHAPES = {"x": (9, 11), "r": (11,), "s": (), "w": (3,)}
AXES = {"x": ("a", "b"), "r": ("b",), "s": (), "w": (None,)}
LATENTS = {"field": ("x", "r", "s"), "whole": ("w",)}
CONDITIONAL = {"x": 0.4, "r": 1.0, "s": 0.05, "w": 0.05}
"""Standard deviations of a latent given all others: below those of the posterior."""


@dataclass(frozen=True)
class Grid:
    """A mesh: rows and columns of a field over "a" and "b", chains over "c"."""

    rows: int = 1
    columns: int = 1
    chains: int = 1

    @property
    def sizes(self) -> dict[str | None, int]:
        return {"a": self.rows, "b": self.columns, "c": self.chains, None: 1}

    @property
    def block(self) -> tuple[int, ...]:
        return self.site("x", "float32").local

    @property
    def devices(self) -> int:
        return self.rows * self.columns * self.chains

    def site(self, name: str, dtype: str) -> Site:
        cuts = [self.sizes[axis] for axis in AXES[name]]
        block = tuple(-(-n // k) for n, k in zip(SHAPES[name], cuts, strict=True))
        held = tuple((axis,) if k > 1 else () for axis, k in zip(AXES[name], cuts, strict=True))
        return Site(name, SHAPES[name], block, held, dtype)

    def space(self, names: tuple[str, ...], chains: int, dtype: str) -> Space:
        split = {axis for n in names for axis in AXES[n]}
        reduce_axes = tuple(axis for axis in ("a", "b") if axis in split and self.sizes[axis] > 1)
        chain_axes = ("c",) if self.chains > 1 else ()
        return Space(tuple(self.site(n, dtype) for n in names), chains // self.chains, reduce_axes, chain_axes)

    def pad(self, name: str, value: np.ndarray) -> np.ndarray:
        """[..., *shape] with the padding of the stored array."""
        rank = len(SHAPES[name])
        ends = [(-n) % self.sizes[axis] if self.sizes[axis] > 1 else 0 for n, axis in self._along(name)]
        return np.pad(value, [(0, 0)] * (value.ndim - rank) + [(0, e) for e in ends])

    def cut(self, name: str, value: Any) -> np.ndarray:
        """A stored array without its padding, which must be zero."""
        value = np.asarray(value)
        whole = value[(..., *(slice(n) for n in SHAPES[name]))]
        assert np.count_nonzero(value) == np.count_nonzero(whole), f"padding of {name} is not zero"
        return whole

    def spec(self, name: str, further: int = 0) -> P:
        return P("c", *(None,) * further, *AXES[name])

    def spmd(self, body: Any, in_specs: Any, out_specs: Any) -> Any:
        """`body` of blocks as a compiled function of stored arrays; on one device, plainly compiled."""
        if self.devices == 1:
            return drive.jit(body)
        devices = np.array(jax.devices()[: self.devices]).reshape(self.rows, self.columns, self.chains)
        mesh = Mesh(devices, ("a", "b", "c"))
        return drive.jit(jax.shard_map(body, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False))

    def _along(self, name: str) -> list[tuple[int, str]]:
        return list(zip(SHAPES[name], AXES[name], strict=True))


def sum_over(grid: Grid, x: jax.Array, axes: tuple[int, ...], over: str, reproducible: bool, dtype=None) -> jax.Array:
    """The sum over array axes and over mesh axes, those of one device left out, in a dtype (None: that of x)."""
    held = tuple(axis for axis in over if grid.sizes[axis] > 1)
    if reproducible:
        return grid_sum(x, axes, held, 1000).astype(dtype or x.dtype)
    part = jnp.sum(x.astype(dtype or x.dtype), axis=axes)
    return lax.psum(part, held) if held else part


def masked(site: Site, value: jax.Array) -> jax.Array:
    real = site.real()
    return value if real is None else jnp.where(real, value, jnp.zeros((), value.dtype))


def places(site: Site) -> tuple[jax.Array, jax.Array]:
    """Row and column of every element of a block of x, [rows, 1] and [1, columns] in the site's dtype."""
    row, column = (
        (lax.iota(jnp.int64, n) + at).astype(site.dtype) for n, at in zip(site.local, site.offset(), strict=True)
    )
    return row[:, None], column[None, :]


def target(posterior: str, counted: bool, grid: Grid, dtype: str, reproducible: bool) -> Any:
    """The log density and gradient of blocks."""
    data = grid.site("x", dtype)

    def added(x, axes, over, dtype=None):
        return sum_over(grid, x, axes, over, reproducible, dtype)

    def field(position):
        x, r, s = position["x"], position["r"], position["s"]
        row, column = places(data)
        count = (7 * row + 3 * column) % 4
        precision = 1 + row / 3 + column / 2
        rate, slope = (jnp.exp(x),) * 2 if counted else (0.5 * precision * x * x, precision * x)
        off = masked(data, (x - s[:, None, None]) / 0.25)
        mean = added(masked(data, x), (1,), "a") / 9
        miss = masked(grid.site("r", dtype), r - mean)
        terms = masked(data, count * x - rate) - 0.125 * off * off
        log_density = added(terms, (1, 2), "ab", "float64") - 0.5 * added(miss * miss, (1,), "b", "float64")
        gradient = {"x": masked(data, miss[:, None, :] / 9 + count - slope) - off, "r": -miss}
        gradient["s"] = added(off, (1, 2), "ab") - s
        return log_density - 0.5 * s.astype(jnp.float64) ** 2, gradient

    def whole(position):
        w = position["w"]
        row, column = places(data)
        row, column = row / 9, column / 11
        eta = w[:, 0, None, None] + w[:, 1, None, None] * row + w[:, 2, None, None] * column
        y = (99 * (row + column)) % 4
        miss = masked(data, y - jnp.exp(eta) if counted else y - eta)
        terms = masked(data, y * eta - jnp.exp(eta)) if counted else -0.5 * miss * miss
        slopes = [added(miss * factor, (1, 2), "ab") for factor in (1.0, row, column)]
        log_density = added(terms, (1, 2), "ab", "float64") - 0.5 * jnp.sum(w.astype(jnp.float64) ** 2, axis=1)
        return log_density, {"w": jnp.stack(slopes, axis=1) - w}

    return {"field": field, "whole": whole}[posterior]


def states(posterior: str, chains: int) -> dict[str, np.ndarray]:
    """Stored states, as scattered as the posterior: draws of the model without its counts, or about its mode."""
    rng = np.random.default_rng(7)
    if posterior == "whole":
        return {"w": 0.3 + 0.1 * rng.normal(size=(chains, 3))}
    s = 0.3 * rng.normal(size=chains)
    x = s[:, None, None] + 0.5 * rng.normal(size=(chains, 9, 11))
    return {"x": x, "r": x.mean(axis=1) + rng.normal(size=(chains, 11)), "s": s}


@dataclass(frozen=True)
class Laid:
    """An algorithm on a posterior on a grid: `run()` makes transitions of its schedule, from the first on.

    metric, step_size: what is handed over to it; the metric "scale" is a known diagonal. reproducible: all sums are.
    """

    options: Any
    posterior: str
    counted: bool
    grid: Grid
    dtype: str
    transitions: int
    metric: str | None = None
    step_size: float | None = None
    reproducible: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return LATENTS[self.posterior]

    @cached_property
    def packing(self) -> Packing:
        space = self.grid.space(self.names, self.options.chains, self.dtype)
        space = replace(space, reproducible=self.reproducible)
        # A field stands for one that is too large to be packed on any mesh.
        return packing(space) if self.posterior == "whole" and self.options.packs else Packing(space)

    def _handed(self, space: Space, state: State) -> Handover:
        size = None if self.step_size is None else jnp.full(space.chains, self.step_size, jnp.float64)
        if self.metric is None:
            return Handover(state, None, size)
        whole = self.grid.space(self.names, self.options.chains, self.dtype)
        scale = {n: 1.3 * CONDITIONAL[n] * x for n, x in whole.full(1.0).items()}
        return Handover(state, Diagonal(self.packing.pack(whole.keep_real(scale, 1.0))), size)

    def _body(self, position: dict[str, jax.Array]) -> Any:
        packed = self.packing
        of_parts = target(self.posterior, self.counted, self.grid, self.dtype, self.reproducible)

        def flat(x):
            log_density, gradient = of_parts(packed.unpack(x))
            return log_density, packed.pack(gradient)

        method = self.options.method(packed.space, flat)
        here = packed.pack(position)
        log_density, gradient = flat(here)
        state = State(here, gradient, log_density, jnp.zeros(packed.space.chains, jnp.uint32))
        first = method.start(KEY, self._handed(packed.space, state))
        schedule = self.options.schedule().part(0, self.transitions)
        block = method.advance(KEY, first, schedule, jnp.int32(self.transitions), packed.unpack)
        end = packed.unpack_tree(method.handover(block.state)).state
        return end.position, end.gradient, end.log_density, block.draws, block.info

    @cached_property
    def stored(self) -> dict[str, np.ndarray]:
        found = states(self.posterior, self.options.chains)
        return {n: self.grid.pad(n, v.astype(self.dtype)) for n, v in found.items()}

    @cached_property
    def lowered(self) -> Any:
        with jax.enable_x64(True):
            vector, draws = ({n: self.grid.spec(n, k) for n in self.names} for k in (0, 1))
            compiled = self.grid.spmd(self._body, (vector,), (vector, vector, P("c"), draws, P("c")))
            return compiled.lower(self.stored)

    @cached_property
    def compiled(self) -> Any:
        with jax.enable_x64(True):
            return self.lowered.compile(drive.QUICK)

    def run(self) -> tuple[dict, dict, np.ndarray, dict, Any]:
        """Where chains end, the gradient and log density there, all draws, and the info; whole NumPy arrays."""
        with jax.enable_x64(True):
            position, gradient, log_density, draws, info = self.compiled(self.stored)
        whole = lambda vector: {n: self.grid.cut(n, v) for n, v in vector.items()}  # noqa: E731
        return whole(position), whole(gradient), np.asarray(log_density), whole(draws), jax.tree.map(np.asarray, info)
