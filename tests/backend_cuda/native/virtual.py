"""Functions of blocks run on virtual devices, by our collectives and by `jax.lax`'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from backend_cuda import LaxCollectives, device_mesh
from backend_cuda.native import Binding, NativeCollectives, bind
from backend_cuda.native.build import host_command
from ir.mesh import Mesh

Body = Callable[..., Any]
"""`f(collectives, *blocks)`."""


@cache
def binding(mesh: str, slot_bytes: int = 1 << 20, seconds: float = 60.0) -> Binding:
    host_command()  # without a compiler this says so, rather than comparing lax with lax
    found = bind(device_mesh(Mesh.parse(mesh)), slot_bytes, seconds)
    assert found is not None
    return found


def program(body: Body, collectives: LaxCollectives, mesh: str, count: int) -> Any:
    """`body` in one shard_map; every array is a stack of the devices' blocks along a leading axis."""
    devices = device_mesh(Mesh.parse(mesh))
    spec = PartitionSpec(devices.axis_names)

    def block(*xs: jax.Array):
        comm = collectives.opened() if isinstance(collectives, NativeCollectives) else collectives
        return jax.tree.map(lambda y: y[None], body(comm, *(x[0] for x in xs)))

    return jax.jit(jax.shard_map(block, mesh=devices, in_specs=(spec,) * count, out_specs=spec, check_vma=False))


def both(body: Body, mesh: str, *stacks: np.ndarray, slot_bytes: int = 1 << 20) -> tuple[Any, Any]:
    """What the body makes with our collectives, and with lax's; stacks of blocks."""
    native = NativeCollectives(binding(mesh, slot_bytes))
    found = []
    for collectives in (native, LaxCollectives()):
        with jax.enable_x64(True):
            made = program(body, collectives, mesh, len(stacks))(*stacks)
        found.append(jax.tree.map(np.asarray, made))
    return found[0], found[1]


def same(body: Body, mesh: str, *stacks: np.ndarray, **more: Any) -> Any:
    """Holds ours to lax's, bit for bit; gives the result."""
    ours, theirs = both(body, mesh, *stacks, **more)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    return ours


def stack(mesh: str, shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(Mesh.parse(mesh).devices, *shape))
    if dtype.startswith("complex"):
        x = x + 1j * rng.normal(size=x.shape)
    return (x * 100 if dtype.startswith("int") else x).astype(dtype)
