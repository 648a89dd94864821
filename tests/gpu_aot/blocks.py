"""Functions of blocks compiled for GPUs that nobody has, with our collectives or with `jax.lax`'s."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from backend_cuda import LaxCollectives
from backend_cuda.native import NativeCollectives, build
from backend_cuda.native.communicator import Communicator
from ir.mesh import Mesh

from .on_gpus import devices

Body = Callable[[LaxCollectives, jax.Array], Any]
"""`f(collectives, block)`."""


class Unbound:
    """What a binding says of a mesh of GPUs that nobody has."""

    def __init__(self, mesh: Mesh):
        self.mesh = mesh

    def communicator(self, axes: Sequence[str]) -> Communicator:
        return Communicator(tuple(axes), self.mesh.size(tuple(axes)), 0, 64 << 20)


def compiled(body: Body, mesh: Mesh, block: Sequence[int], native: bool, dtype: str = "float32") -> Any:
    """The body on blocks of a shape, the first dims of which are split, one over each axis of the mesh."""
    made = build.loaded("gpu")
    if isinstance(made, str):
        pytest.skip(made)
    comm = NativeCollectives(Unbound(mesh)) if native else LaxCollectives()  # type: ignore[arg-type]

    def run(x: jax.Array) -> Any:
        chain = comm.opened((x,))
        return chain.closed(body(chain, x))

    spec = PartitionSpec(*mesh.names)
    whole = tuple(n * p for n, p in zip(block, (*mesh.shape, *(1,) * len(block)), strict=False))
    x = jax.ShapeDtypeStruct(whole, jnp.dtype(dtype), sharding=NamedSharding(devices(mesh), spec))
    f = jax.shard_map(run, mesh=devices(mesh), in_specs=spec, out_specs=spec, check_vma=False)
    return jax.jit(f).lower(x).compile()


class Counts(NamedTuple):
    """What XLA:GPU runs, one behind the other; temporaries in bytes."""

    fusions: int
    copies: int
    calls: int
    """Of ours."""
    collectives: int
    """XLA's own."""
    temporaries: int


COLLECTIVES = r"(?:all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)"


def counts(made: Any) -> Counts:
    text = made.as_text()
    kinds = r"fusion", r"copy(?:-start)?", rf"{COLLECTIVES}(?:-start)?"
    fusions, copies, collectives = (len(re.findall(rf" {kind}\(", text)) for kind in kinds)
    calls = len(re.findall(r'custom_call_target="meshbayes_(?:exchange|all_reduce)"', text))
    return Counts(fusions, copies, calls, collectives, made.memory_analysis().temp_size_in_bytes)
