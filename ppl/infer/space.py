"""The vector space that samplers work in, on one device's blocks, inside a `shard_map` body.

A vector is a dict from site name to the local block of that latent; the leading axis of every block is the local chains
axis. Sites are never raveled, joined or gathered: the only communication is one all-reduce of a few float64 scalars per
`dots`. Blocks of an unevenly split dim are padded at their end: padding is zero in every vector and is never counted.

A `Space` is plain data. Its methods are to be traced inside `jax.enable_x64(True)` and, where mesh axes are named,
inside `jax.shard_map(..., check_vma=False)` over a mesh that has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backend_cuda import LAX, LaxCollectives
from ir import counter, exact
from ir.grid_sum import grid_sum
from ir.together import sum_together

if TYPE_CHECKING:
    from .fourier import Spectra

Vector = dict[str, jax.Array]

OWN_SUMS = "sums_of_the_sampler"
"""The scope of a sampler's all-reduces in HLO; those of the model's density have none."""
PACKED = "*"
"""The name of a site that holds several latents (`ppl.infer.pack`): no latent can be called so."""

ROW = 2**14
"""Elements of a device's block above which `Space.inner` takes the rows of a stack one by one."""


@dataclass(frozen=True)
class Site:
    """One latent and how it is cut.

    shape: global extents, without chain and without padding.
    block: extents of every device's block, padding included; `None` is `shape` (nothing split).
    axes:  for each dim, the mesh axes that split it, major first; the block's global offset along the dim is its
           position on those axes times the block's extent. `None` is `()` for every dim.
    dtype: "float32" or "float64".
    dof:   real degrees of freedom; `None` is the number of elements.
    parts: the latents of a packed site of shape (d,), in order (`ppl.infer.pack`); their noise is drawn as theirs.
    """

    name: str
    shape: tuple[int, ...]
    block: tuple[int, ...] | None = None
    axes: tuple[tuple[str, ...], ...] | None = None
    dtype: str = "float32"
    dof: int | None = None
    parts: tuple[Site, ...] = ()

    @property
    def local(self) -> tuple[int, ...]:
        return self.shape if self.block is None else self.block

    @property
    def split(self) -> tuple[tuple[str, ...], ...]:
        return ((),) * len(self.shape) if self.axes is None else self.axes

    @property
    def degrees(self) -> int:
        return math.prod(self.shape) if self.dof is None else self.dof

    def offset(self) -> tuple[jax.Array | int, ...]:
        """Global position of the local block's first element, per dim (traced where split)."""
        # An axis index is int32: a line of 2^31 elements needs 64 bits.
        places = ((lax.axis_index(a).astype(jnp.int64) if a else 0) for a in self.split)
        return tuple(p * n for p, n in zip(places, self.local, strict=True))

    def real(self) -> jax.Array | None:
        """bool[block]: which elements are not padding; `None` when all are, on every device."""
        masks = []
        for d, (n, size, where) in enumerate(zip(self.local, self.shape, self.offset(), strict=True)):
            if not self.split[d] and n == size:
                continue
            along = [1] * len(self.local)
            along[d] = n
            masks.append((lax.iota(jnp.int64, n) + where < size).reshape(along))
        return reduce(jnp.logical_and, masks) if masks else None


@dataclass(frozen=True)
class Space:
    """The latents of a plan as a vector space over `chains` local chains.

    reduce_axes: every mesh axis over which anything but chains is split.
    chain_axes:  the mesh axes over which chains are split; the local chains are a block of the global ones.
    reproducible: inner products and sums over chains of equal vectors are equal to the last bit on every mesh (see
                  `ir.exact`, `ir.grid_sum`). `dots` costs about 2.5 ns of a CPU an element and product (plain: 1.5 to 2
                  for all of a call together), and 153 int64 a product and chain in the all-reduce.
    spectra:      the sites that have a planned transform, where a metric of plane waves was asked for.
    collectives:  what devices communicate by, the same as in the target.
    """

    sites: tuple[Site, ...]
    chains: int = 1
    reduce_axes: tuple[str, ...] = ()
    chain_axes: tuple[str, ...] = ()
    reproducible: bool = False
    spectra: Spectra | None = None
    collectives: LaxCollectives = LAX

    @classmethod
    def single(cls, sites: Mapping[str, Sequence[int]], chains: int = 1, dtype: str = "float64") -> Space:
        """The space of one device that holds all of every site."""
        return cls(tuple(Site(name, tuple(shape), dtype=dtype) for name, shape in sites.items()), chains)

    @property
    def packed(self) -> bool:
        """Whether the one site holds several latents (`ppl.infer.pack`)."""
        return bool(self.sites) and bool(self.sites[0].parts)

    @property
    def degrees(self) -> int:
        """Real degrees of freedom of one chain."""
        return sum(site.degrees for site in self.sites)

    def chain_ids(self) -> jax.Array:
        """uint32[chains]: the global numbers of the local chains."""
        first = lax.axis_index(self.chain_axes) * self.chains if self.chain_axes else 0
        return lax.iota(jnp.uint32, self.chains) + jnp.asarray(first, jnp.uint32)

    def dots(self, pairs: Sequence[tuple[Vector, Vector]]) -> jax.Array:
        """float64[len(pairs), chains]: inner products <a, b>, all in one all-reduce over `reduce_axes`.

        Factors are widened before they are multiplied and summed, so that a float32 field of 10^8 elements loses
        nothing. A site that some of the axes do not split counts on their first device only; what every device decides
        on is the all-reduced number, equal on all of them to the last bit. All pairs are summed in one pass over the
        blocks: ask for them together. XLA:CPU vectorises no operand that it computes inside this pass: noise that
        nothing else makes it store is drawn six times as slowly there.
        """
        terms = [[_wide(a[s.name]) * _wide(b[s.name]) for a, b in pairs] for s in self.sites]
        if not self.reproducible:
            sums = (self.owned(s, jnp.stack(sum_together(t))) for s, t in zip(self.sites, terms, strict=True))
            return self.all_reduce(reduce(jnp.add, sums))
        # Copies of a site on other devices are zero terms, not zero sums: every sum of a site is then made alike.
        owned = [[self.owned(s, x) for x in t] for s, t in zip(self.sites, terms, strict=True)]
        return exact.total(self.all_reduce(exact.accumulate(owned))).T

    def inner(self, pairs: Sequence[tuple[Vector, Vector]]) -> list[jax.Array]:
        """float64[C, *n, *m] of each pair: the inner products of every a_i with every b_j, in one all-reduce for all.

        A factor is a vector [C, ...] (no n) or a stack of n of them [C, n, ...]. Large stacks are gone through row by
        row, so that nothing of the size of a stack is formed (XLA would keep it in float64).
        """
        if self.reproducible:
            return self._inner_exactly(pairs)
        sums = [sum(self.owned(s, _outer(s, a[s.name], b[s.name])) for s in self.sites) for a, b in pairs]
        flat = self.all_reduce(jnp.concatenate([x.reshape(-1) for x in sums]))
        ends = np.cumsum([x.size for x in sums])
        return [flat[end - x.size : end].reshape(x.shape) for end, x in zip(ends, sums, strict=True)]

    def _inner_exactly(self, pairs: Sequence[tuple[Vector, Vector]]) -> list[jax.Array]:
        found, shapes = [], []
        for a, b in pairs:
            products = [_products(s, a[s.name], b[s.name]) for s in self.sites]
            shapes.append(products[0].shape[: products[0].ndim - len(self.sites[0].shape)])
            terms = [x.reshape(-1, *s.local) for s, x in zip(self.sites, products, strict=True)]
            found.append(exact.accumulate([[self.owned(s, x)] for s, x in zip(self.sites, terms, strict=True)]))
        flat = exact.total(self.all_reduce(jnp.concatenate(found)))
        ends = np.cumsum([len(x) for x in found])
        return [flat[end - len(x) : end].reshape(n) for end, x, n in zip(ends, found, shapes, strict=True)]

    def chain_sum(self, x: jax.Array) -> jax.Array:
        """[...]: x[C, ...] summed over all chains, those on other devices included."""
        if self.reproducible:
            count = self.chains * int(lax.psum(1, self.chain_axes) if self.chain_axes else 1)
            return grid_sum(x, (0,), self.chain_axes, count, self.collectives.all_reduce).astype(x.dtype)
        return self.over_chains(jnp.sum(x, axis=0), "sum")

    def over_chains(self, x: jax.Array, kind: str) -> jax.Array:
        """The "sum", "max" or "min" of what the devices that split the chains hold."""
        return self.collectives.all_reduce(x, self.chain_axes, kind) if self.chain_axes else x

    def all_finite(self, vector: Vector) -> jax.Array:
        """bool[chains]: whether every element on every device is finite (one all-reduce)."""
        # Devices are counted and not elements, of which an int32 holds too few.
        bad = jnp.zeros(self.chains, bool)
        for value in vector.values():
            bad = bad | jnp.any(~jnp.isfinite(value), axis=range(1, value.ndim))
        return self.all_reduce(bad.astype(jnp.int32)) == 0

    def normal(self, key: counter.Key, purpose: jax.Array | int) -> Vector:
        """Standard normal noise, zero on padding; `key` holds one key, or one per local chain (the chain is in it).

        Each element depends on (key, purpose, site, global row-major index) alone.
        """
        return self.noise(key, purpose, lambda own, index, site: counter.normal(own, index, site.dtype))

    def noise(
        self, key: counter.Key, purpose: jax.Array | int, draw: Callable[[counter.Key, counter.Index, Site], jax.Array]
    ) -> Vector:
        """`draw(key, global index, site)` of every site, [..., chains, *block], as `normal` is of `counter.normal`."""
        if self.packed:
            return {self.sites[0].name: self._packed_noise(key, purpose, self.sites[0], draw)}
        hashes = np.array([[counter.site_hash(site.name)] for site in self.sites], np.uint32)
        keys = counter.derive(key, purpose, hashes)  # words [sites, chains or 1]
        keys = tuple(jnp.broadcast_to(w, (len(self.sites), self.chains)) for w in keys)
        noise = {}
        for number, site in enumerate(self.sites):
            own = counter.expand((keys[0][number], keys[1][number]), len(site.shape))
            index = counter.global_index(site.local, site.offset(), site.shape, keys[0][number, 0])
            value = draw(own, index, site)
            real = site.real()
            noise[site.name] = value if real is None else jnp.where(real, value, jnp.zeros((), value.dtype))
        return noise

    def _packed_noise(self, key: counter.Key, purpose: jax.Array | int, packed: Site, draw: Any) -> jax.Array:
        """[chains, d]: the noise of all parts in one pass, each element under its own latent's key and index."""
        sizes = [math.prod(site.shape) for site in packed.parts]
        hashes = np.repeat(np.array([counter.site_hash(s.name) for s in packed.parts], np.uint32), sizes)
        index = np.concatenate([np.arange(n, dtype=np.uint32) for n in sizes])
        own = counter.derive(counter.expand(counter.derive(key, purpose), 1), hashes)
        own = tuple(jnp.broadcast_to(w, (self.chains, len(hashes))) for w in own)
        return draw(own, (index, np.zeros_like(index)), packed)

    def full(self, fill: float) -> Vector:
        """`fill` everywhere, on padding too (a metric's padding is 1)."""
        return {s.name: jnp.full((self.chains, *s.local), fill, s.dtype) for s in self.sites}

    def zeros(self) -> Vector:
        return self.full(0.0)

    def spread(self, scalar: jax.Array, like: jax.Array) -> jax.Array:
        """[chains] -> [chains, 1, ...] in the dtype of `like`; booleans stay."""
        scalar = scalar if scalar.dtype == bool else scalar.astype(like.dtype)
        return scalar.reshape(self.chains, *(1,) * (like.ndim - 1))

    def where(self, mask: jax.Array, a: Vector, b: Vector) -> Vector:
        """Chain by chain: `a` where mask[chains], else `b`."""
        return {n: jnp.where(self.spread(mask, a[n]), a[n], b[n]) for n in b}

    def axpy(self, scale: jax.Array, x: Vector, y: Vector) -> Vector:
        """scale[chains] x + y."""
        return {n: self.spread(scale, x[n]) * x[n] + y[n] for n in y}

    def keep_real(self, vector: Vector, fill: float) -> Vector:
        """`vector` with its padding selected to `fill`."""
        kept = {}
        for site in self.sites:
            real, value = site.real(), vector[site.name]
            kept[site.name] = value if real is None else jnp.where(real, value, jnp.asarray(fill, value.dtype))
        return kept

    def all_reduce(self, partial: jax.Array) -> jax.Array:
        """The sum over the devices that split anything but chains."""
        with jax.named_scope(OWN_SUMS):
            return self.collectives.all_reduce(partial, self.reduce_axes, "sum") if self.reduce_axes else partial

    def owned(self, site: Site, partial: jax.Array) -> jax.Array:
        """`partial`, or zero on the devices that hold a second copy of the site."""
        cut = {axis for axes in site.split for axis in axes}
        copies = tuple(axis for axis in self.reduce_axes if axis not in cut)
        if not copies:
            return partial
        return jnp.where(lax.axis_index(copies) == 0, partial, jnp.zeros((), partial.dtype))


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float64)


def _outer(site: Site, a: jax.Array, b: jax.Array) -> jax.Array:
    """float64[C, *n, *m]: the site's part of `Space.inner`, on this device."""
    rank = len(site.shape)
    for at, (stack, other) in enumerate(((a, b), (b, a))):
        if stack.ndim > 1 + rank and stack[:, 0].size > ROW:

            def row(i: jax.Array, at: int = at, stack: jax.Array = stack, other: jax.Array = other) -> jax.Array:
                one = lax.dynamic_index_in_dim(stack, i, axis=1, keepdims=False)
                return _outer(site, *((one, other) if at == 0 else (other, one)))

            rows = lax.map(row, jnp.arange(stack.shape[1], dtype=jnp.int32))
            return jnp.moveaxis(rows, 0, 1 if at == 0 else rows.ndim - 1)
    products = _products(site, a, b)
    return jnp.sum(products, axis=range(products.ndim - rank, products.ndim))


def _products(site: Site, a: jax.Array, b: jax.Array) -> jax.Array:
    """float64[C, *n, *m, *block]: what `Space.inner` sums."""
    further_a, further_b = (x.ndim - 1 - len(site.shape) for x in (a, b))
    a = a.reshape(*a.shape[: 1 + further_a], *(1,) * further_b, *a.shape[1 + further_a :])
    b = b.reshape(b.shape[0], *(1,) * further_a, *b.shape[1:])
    return a.astype(jnp.float64) * b.astype(jnp.float64)


def combine(weights: jax.Array, stack: Vector) -> Vector:
    """sum_i weights[C, i] stack[C, i, ...]."""
    return {
        n: jnp.sum(weights.astype(x.dtype).reshape(*weights.shape, *(1,) * (x.ndim - 2)) * x, axis=1)
        for n, x in stack.items()
    }


def multiply(a: Vector, b: Vector) -> Vector:
    """Elementwise product."""
    return {n: a[n] * b[n] for n in a}


def add(a: Vector, b: Vector) -> Vector:
    """Elementwise sum."""
    return {n: a[n] + b[n] for n in a}


def subtract(a: Vector, b: Vector) -> Vector:
    """Elementwise difference."""
    return {n: a[n] - b[n] for n in a}
