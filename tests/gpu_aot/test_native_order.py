"""Native collectives in XLA:GPU's schedule: in the order of the program, with XLA's own in their place among them.

Kernels that wait for their peers hang where two devices run them in different orders, and XLA:GPU orders calls that do
not depend on each other as it likes.
"""

import re
from typing import Any

import jax.numpy as jnp
import pytest

from backend_cuda.halo import Edge
from ir.mesh import Mesh

from .blocks import COLLECTIVES, compiled
from .on_gpus import needs_compiler

pytestmark = [needs_compiler, pytest.mark.slow]
ROW = ("row",)
SHARD = 256 * 256 * 64 // 4 * 4
"""Bytes of a device's block of float32 on four devices; on more, blocks are as large."""


def blocks(body: Any, gpus: int, native: bool) -> Any:
    """A function of blocks, compiled for a row of H200s."""
    shape = (64, 64 * gpus, SHARD // 4 // 64 // (64 * gpus))
    return compiled(lambda comm, x: body(comm, x, gpus), Mesh((("row", gpus),)), shape, native)


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
    made = blocks(mixed, 4, native=True)
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
    made = blocks(moved, gpus, native=True)
    assert called(made) == ["exchange"] * 4 + ["all_reduce"]
    assert not re.search(COLLECTIVES, entry(made))
