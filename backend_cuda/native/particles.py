"""Painting and reading of particles by hand-written kernels: from displacements to a block of a mesh in one call.

Where XLA makes the cells of all particles and scatters or gathers once for each cell that one touches, a kernel takes
each particle once and nothing is written out between. Kernels are for clouds in cell in up to three dims; derivatives
and the rest are XLA's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ir.painter import XLA, Arrays, Painter, Swarm

from .build import library

FIELDS = 8
"""The most meshes that one call paints or reads (particles.h)."""


@dataclass(frozen=True)
class NativePainter(Painter):
    """`Painter` by the kernels of a platform, cpu or gpu, where `build.library` has them; they are built when needed.

    GPUs add in the order in which particles come, another one in each run, or reproducibly as whole numbers of 2^-61 of
    the largest value times the number of particles, rounded up to a power of two; that takes 8 bytes more a cell, and
    where a value is not finite, or a particle nowhere, the whole block is NaN.
    """

    platform: str

    def paint(self, swarm: Swarm, own: Arrays, guests: Arrays, reproducible: bool = False) -> list[jax.Array]:
        count, shape = max(1, len(own)), tuple(a.extent - _tail(a) for a in swarm.axes)
        if not self._serves(swarm, count):
            return super().paint(swarm, own, guests, reproducible)

        def by_xla(swarm: Swarm, own: Arrays, guests: Arrays) -> list[jax.Array]:
            return XLA.paint(swarm, own, guests)

        def by_kernel(swarm: Swarm, own: Arrays, guests: Arrays) -> list[jax.Array]:
            mesh = jax.ShapeDtypeStruct(shape, swarm.displacements[0].dtype)
            words = jax.ShapeDtypeStruct((2 * (mesh.size + 1) if reproducible else 0,), jnp.int32)
            return _call("paint", swarm, own, guests, (), count, [*[mesh] * count, words])[:-1]

        return _differentiable(by_kernel, by_xla, swarm.axes, swarm.kernel)(swarm, own, guests)

    def read(self, swarm: Swarm, fields: Arrays) -> tuple[list[jax.Array], list[jax.Array]]:
        if not self._serves(swarm, len(fields)):
            return super().read(swarm, fields)

        def by_kernel(swarm: Swarm, fields: Arrays) -> tuple[list[jax.Array], list[jax.Array]]:
            made = _call("read", swarm, (), (), fields, len(fields), _of_particles(swarm, len(fields)))
            return made[: len(fields)], made[len(fields) :]

        return _differentiable(by_kernel, XLA.read, swarm.axes, swarm.kernel)(swarm, fields)

    def read_slopes(
        self, swarm: Swarm, fields: Arrays, own: Arrays, guests: Arrays
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        if not self._serves(swarm, len(fields)):
            return super().read_slopes(swarm, fields, own, guests)
        rank = len(swarm.axes)

        def by_kernel(swarm: Swarm, fields: Arrays, own: Arrays, guests: Arrays):
            made = _call("read_slopes", swarm, own, guests, fields, len(fields), _of_particles(swarm, rank))
            return made[:rank], made[rank:]

        return _differentiable(by_kernel, XLA.read_slopes, swarm.axes, swarm.kernel)(swarm, fields, own, guests)

    def _serves(self, swarm: Swarm, count: int) -> bool:
        known = swarm.kernel == "cic" and swarm.displacements[0].dtype in (jnp.float32, jnp.float64)
        small = len(swarm.axes) <= 3 and count <= FIELDS
        return known and small and library(self.platform) is not None


def _tail(axis: Any) -> int:
    return 0 if axis.margin is not None else axis.tail


def _of_particles(swarm: Swarm, count: int) -> list[jax.ShapeDtypeStruct]:
    own, guests = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (swarm.displacements[0], swarm.t[0]))
    return [own] * count + [guests] * count


def _call(
    name: str, swarm: Swarm, own: Arrays, guests: Arrays, fields: Arrays, count: int, results: list[Any]
) -> list[jax.Array]:
    """A kernel's results; a batch goes in one call, in which what is not batched stands once."""
    numbers = [len(swarm.axes), count, len(own)]
    for axis in swarm.axes:
        step = int(axis.points[1] - axis.points[0]) if len(axis.points) > 1 else axis.denominator
        margin = -1 if axis.margin is None else axis.margin
        numbers += [axis.cells, margin, len(axis.points), step, axis.denominator]
    guests = guests or [jnp.zeros((0,), x.dtype) for x in own]
    call = jax.ffi.ffi_call(f"meshbayes_{name}", results, vmap_method="expand_dims")
    given = *swarm.displacements, *own, *swarm.cells, *swarm.t, *guests, *fields
    return list(call(*given, numbers=np.array(numbers, np.int64)))


def _differentiable(kernel: Callable[..., Any], by_xla: Callable[..., Any], axes: Sequence[Any], name: str):
    """`kernel` with the derivatives of `by_xla`."""

    def on_arrays(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda arrays, *rest: f(Swarm(axes, name, *arrays), *rest)

    call = jax.custom_jvp(on_arrays(kernel))

    @call.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return call(*primals), jax.jvp(on_arrays(by_xla), primals, tangents)[1]

    return lambda swarm, *rest: call((list(swarm.displacements), list(swarm.cells), list(swarm.t)), *map(list, rest))


__all__ = ["NativePainter"]
