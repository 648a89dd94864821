"""Native collectives in XLA:GPU's schedule: in the order of the program, with XLA's own in their place among them.

Kernels that wait for their peers hang where two devices run them in different orders, and XLA:GPU orders calls that do
not depend on each other as it likes.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from backend_cuda import LaxCollectives
from backend_cuda.halo import Edge
from backend_cuda.native import NativeCollectives, build
from backend_cuda.native.communicator import Communicator
from ir.mesh import Mesh

from .on_gpus import devices, needs_compiler

pytestmark = [needs_compiler, pytest.mark.slow]
ROW = ("row",)
COLLECTIVES = r"(?:all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)"
SHARD = 256 * 256 * 64 // 4 * 4
"""Bytes of a device's block of float32 on four devices; on more, blocks are as large."""


class Unbound:
    """What a binding says of a mesh of GPUs that nobody has."""

    def __init__(self, gpus: int):
        self.gpus = gpus

    def communicator(self, axes):
        return Communicator(tuple(axes), self.gpus, 0, 64 << 20)


def compiled(body: Any, gpus: int, native: bool) -> Any:
    """A function of blocks, by our collectives or by `jax.lax`'s, compiled for H200s."""
    made = build.loaded("gpu")
    if isinstance(made, str):
        pytest.skip(made)
    comm = NativeCollectives(Unbound(gpus)) if native else LaxCollectives()  # type: ignore[arg-type]

    def block(x):
        chain = comm.opened((x,))
        return chain.closed(body(chain, x, gpus))

    mesh, spec = devices(Mesh.parse(f"row={gpus}")), PartitionSpec("row")
    shape = (64 * gpus, 64 * gpus, SHARD // 4 // 64 // (64 * gpus))
    x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
    f = jax.jit(jax.shard_map(block, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    return f.lower(x).compile()


def entry(made: Any) -> str:
    text = made.as_text()
    assert "is_scheduled=true" in text
    return text[text.index("ENTRY") :]


def called(made: Any) -> list[str]:
    """Our calls and XLA's collectives, in the order of its schedule."""
    found = re.findall(
        rf'custom_call_target="meshbayes_(exchange|all_reduce)"|= [^=]*? ({COLLECTIVES})(?:-start)?\(', entry(made)
    )
    return [a or b for a, b in found]


def mixed(comm, x, gpus):
    gathered = [comm.all_gather(x[:1, :1] * (i + 1), ROW, 0) for i in range(6)]
    dealt = comm.all_to_all(x, ROW, 0, 1)
    large = comm.all_reduce(x, ROW, "sum")  # XLA's
    small = comm.all_reduce(x[0, 0], ROW, "sum")
    halo = comm.halo(x, Edge(ROW, 0, 2, gpus, gpus * x.shape[0]))
    return {"gathered": jnp.stack(gathered), "dealt": dealt, "large": large, "small": small, "halo": halo}


def test_calls_stand_in_the_order_of_the_program():
    made = compiled(mixed, 4, native=True)
    assert called(made) == ["exchange"] * 7 + ["all-reduce", "all_reduce", "exchange"]
    assert made.memory_analysis().temp_size_in_bytes < 0.1 * SHARD, "XLA packs nothing but the halo's edges"


def moved(comm, x, gpus):
    """What plans move: a transpose there and back, a halo, what spills, an energy."""
    y = jnp.sin(comm.all_to_all(x, ROW, 0, 1))
    back = comm.all_to_all(y, ROW, 1, 0)
    around = comm.halo(back, Edge(ROW, 0, 2, gpus, gpus * x.shape[0]))
    spilt = comm.spill(around * 2, Edge(ROW, 0, 2, gpus, gpus * x.shape[0]))
    energy = comm.all_reduce(jnp.sum(spilt * spilt).reshape(1), ROW, "sum")
    return {"field": spilt, "energy": energy}


@pytest.mark.parametrize("gpus", [4, 8, 16])
def test_programs_have_our_calls_in_their_order_and_none_of_nccls(gpus):
    made = compiled(moved, gpus, native=True)
    assert called(made) == ["exchange"] * 4 + ["all_reduce"]
    assert not re.search(COLLECTIVES, entry(made))


def dealt(comm, x, gpus):
    return {"field": comm.all_to_all(x, ROW, 0, 1)}


def transposed(comm, x, gpus):
    y = jnp.sin(comm.all_to_all(x, ROW, 0, 1))
    return {"field": comm.all_to_all(y, ROW, 1, 0)}


def stencil(comm, x, gpus):
    h = comm.halo(x, Edge(ROW, 0, 1, gpus, gpus * x.shape[0]))
    return {"field": h[2:] - 2 * h[1:-1] + h[:-2]}


@pytest.mark.parametrize(("body", "more"), [(dealt, -0.9), (transposed, 0.0), (stencil, 1.1)])
def test_temporaries_beside_those_of_lax(body, more):
    """In blocks. A transpose packs nothing, which counts where XLA has no room for that anyway; a halo is made in full,
    where XLA makes its own a part of what reads it."""
    found = []
    for native in (True, False):
        made = compiled(body, 4, native)
        assert called(made) and (not native or set(called(made)) == {"exchange"})
        found.append(made.memory_analysis().temp_size_in_bytes)
    ours, lax = (f"{n / 1e6:.2f} MB" for n in found)
    print(f"\n{body.__name__} of {SHARD / 1e6:.1f} MB: temporaries {ours}, lax {lax}")
    assert found[0] <= found[1] + more * SHARD
