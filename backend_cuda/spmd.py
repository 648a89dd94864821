"""Whole arrays on a device mesh: storing them in blocks, and running block functions in one `jax.shard_map`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ir.dims import TensorType
from ir.errors import Diagnostic
from ir.layout import Layout, block
from ir.mesh import Mesh


def device_mesh(mesh: Mesh, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """The JAX mesh of a plan's mesh; too few devices is a `Diagnostic` that says how to get virtual ones."""
    found = list(devices if devices is not None else jax.devices())
    if len(found) < mesh.devices:
        raise Diagnostic(
            "plan",
            f"the mesh {mesh} needs {mesh.devices} devices, but there are {len(found)}",
            hint=f"virtual CPU devices: set XLA_FLAGS=--xla_force_host_platform_device_count={mesh.devices} "
            "before Python starts (the command line does so by itself)",
            where="mesh",
        )
    names, shape = mesh.names or ("one",), mesh.shape or (1,)
    grid = np.array(found[: mesh.devices], dtype=object).reshape(shape)
    return jax.sharding.Mesh(grid, names, axis_types=(AxisType.Auto,) * len(names))


def on_cpu(devices: jax.sharding.Mesh) -> bool:
    return devices.devices.flat[0].platform == "cpu"


def spec(t: TensorType, layout: Layout) -> PartitionSpec:
    """Which mesh axes split each array axis."""
    return PartitionSpec(
        *((axes if len(axes := layout.axes(d)) > 1 else axes[0]) if layout.axes(d) else None for d in t.names)
    )


def stored_shape(t: TensorType, layout: Layout, mesh: Mesh) -> tuple[int, ...]:
    """The shape of the whole array as it is stored: every dim padded to whole blocks."""
    return tuple(block(d.size, p) * p for d in t.dims for p in (mesh.size(layout.axes(d.name)),))


def store(array: Any, t: TensorType, layout: Layout, mesh: Mesh, devices: jax.sharding.Mesh) -> jax.Array:
    """A whole array placed on the mesh in a layout, padded with zeros."""
    array = np.asarray(array, dtype=t.numpy)
    shape = stored_shape(t, layout, mesh)
    if array.shape != shape:
        array = np.pad(array, [(0, s - a) for s, a in zip(shape, array.shape, strict=True)])
    with jax.enable_x64(True):
        return jax.device_put(array, NamedSharding(devices, spec(t, layout)))


def to_host(array: Any) -> np.ndarray:
    """The whole array on the host. Where other processes hold a part of it, all of them call this."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    with jax.enable_x64(True):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def gather(array: jax.Array, t: TensorType) -> np.ndarray:
    """The whole array on the host, padding cut off; leading axes that `t` does not name (draws) are kept."""
    lead = array.ndim - len(t.dims)
    whole = to_host(array)
    return whole[(slice(None),) * lead + tuple(slice(0, d.size) for d in t.dims)]


def spmd(
    f: Callable[..., Any], mesh: Mesh, devices: jax.sharding.Mesh, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """`f` of blocks as a function of whole stored arrays; on one device it is `f` itself.

    `check_vma` is off: with it, `jax.vjp` of a block would add a sum of its own for replicated operands. The planner's
    and verifier's rules stand in for that check.
    """
    if mesh.devices == 1:
        return f
    return jax.shard_map(f, mesh=devices, in_specs=in_specs, out_specs=out_specs, check_vma=False)


__all__ = ["device_mesh", "gather", "jnp", "on_cpu", "spec", "spmd", "store", "stored_shape", "to_host"]
