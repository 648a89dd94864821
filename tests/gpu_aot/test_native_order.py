"""Native collectives in XLA:GPU's schedule: in the order of the program, with XLA's own in their place among them.

Kernels that wait for their peers hang where two devices run them in different orders, and XLA:GPU orders calls that do
not depend on each other as it likes.
"""

import ctypes
import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from backend_cuda.native import NativeCollectives, build
from backend_cuda.native.communicator import Communicator
from ir.mesh import Mesh

from .on_gpus import devices, needs_compiler

pytestmark = [needs_compiler, pytest.mark.slow]
ROW, GPUS = ("row",), 4


class Unbound:
    """What a binding says of a mesh of GPUs that nobody has."""

    def communicator(self, axes):
        return Communicator(tuple(axes), GPUS, 0, 64 << 20)


def body(x):
    comm = NativeCollectives(Unbound()).opened((x,))  # type: ignore[arg-type]
    gathered = [comm.all_gather(x[:1, :1] * (i + 1), ROW, 0) for i in range(6)]
    dealt = comm.all_to_all(x, ROW, 0, 1)
    large = comm.all_reduce(x, ROW, "sum")  # XLA's
    small = comm.all_reduce(x[0, 0], ROW, "sum")
    halo = comm.halo(x, ROW, 0, 2, GPUS, GPUS * x.shape[0])
    return comm.closed({"gathered": jnp.stack(gathered), "dealt": dealt, "large": large, "small": small, "halo": halo})


def test_calls_stand_in_the_order_of_the_program():
    try:
        library = ctypes.CDLL(str(build.cuda_library()))
    except build.BuildError as error:
        pytest.skip(str(error))
    for name in ("meshbayes_exchange", "meshbayes_all_reduce", "meshbayes_after"):
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="CUDA")
    mesh, spec = devices(Mesh.parse(f"row={GPUS}")), PartitionSpec("row")
    shape = (256, 256, 64)
    x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
    f = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    compiled: Any = f.lower(x).compile()
    text = compiled.as_text()
    assert "is_scheduled=true" in text
    entry = text[text.index("ENTRY") :]
    found = re.findall(r'custom_call_target="meshbayes_(exchange|all_reduce)"|= [^=]*? (all-reduce-start)\(', entry)
    assert [a or b for a, b in found] == ["exchange"] * 7 + ["all-reduce-start", "all_reduce", "exchange"]
    assert compiled.memory_analysis().temp_size_in_bytes < 1e5, "a shard is 4 MB: nothing is packed by XLA"
