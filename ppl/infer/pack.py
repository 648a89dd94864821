"""Few latents as one vector: a space of a single site in which a sampler's step is a handful of fused loops.

Packing is for small models on whole latents only: a site that a mesh axis splits is never joined to another. The packed
site knows its parts, so that its noise is what the parts would have drawn (`Space.normal`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from .space import PACKED, Site, Space, Vector

MOST = 2048
"""Latents of a chain that are packed. Larger sites fill loops of their own."""


@dataclass(frozen=True)
class Packing:
    """How vectors of a model's latents become vectors of `space` and back; the identity where nothing is packed."""

    space: Space
    parts: tuple[Site, ...] = ()

    def pack(self, vector: Vector) -> Vector:
        """{latent: [C, ...]} -> {"*": [C, d]}; of stacks, {latent: [C, n, ...]} -> {"*": [C, n, d]}."""
        if not self.parts:
            return vector
        flat = [_flat(vector[s.name], len(s.shape)) for s in self.parts]
        return {PACKED: jnp.concatenate(flat, axis=-1)}

    def unpack(self, vector: Vector) -> Vector:
        """{"*": [C, d]} -> {latent: [C, ...]}, and of stacks."""
        if not self.parts:
            return vector
        found, at, whole = {}, 0, vector[PACKED]
        for site in self.parts:
            size = math.prod(site.shape)
            found[site.name] = whole[..., at : at + size].reshape(*whole.shape[:-1], *site.shape)
            at += size
        return found

    def pack_tree(self, tree: Any) -> Any:
        """A tree with every vector of latents in it packed."""
        return self._replace(tree, {s.name for s in self.parts}, self.pack)

    def unpack_tree(self, tree: Any) -> Any:
        """A tree with every packed vector in it unpacked."""
        return self._replace(tree, {PACKED}, self.unpack)

    def _replace(self, tree: Any, names: set[str], change: Any) -> Any:
        if not self.parts:
            return tree
        is_vector = lambda x: isinstance(x, dict) and set(x) == names  # noqa: E731
        return jax.tree.map(lambda x: change(x) if is_vector(x) else x, tree, is_leaf=is_vector)


def _flat(x: jax.Array, rank: int) -> jax.Array:
    """The last `rank` axes as one."""
    return x.reshape(*x.shape[: x.ndim - rank], -1)


def packing(space: Space) -> Packing:
    """The packing of a space: all of its sites if they are few, whole and of one dtype, else none.

    Nor is a space packed whose sums must not depend on the mesh, as whether latents are whole does, or one with sites
    that are transformed.
    """
    whole = all(site.local == site.shape for site in space.sites) and not space.reduce_axes
    alike = len({site.dtype for site in space.sites}) == 1
    if not whole or not alike or space.degrees > MOST or not space.sites or space.reproducible or space.spectra:
        return Packing(space)
    size = sum(math.prod(site.shape) for site in space.sites)
    packed = Site(PACKED, (size,), dtype=space.sites[0].dtype, dof=space.degrees, parts=space.sites)
    return Packing(replace(space, sites=(packed,)), space.sites)
