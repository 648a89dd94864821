"""What XLA is told when it compiles a plan."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from functools import cache

import jax

from ir.plan import Plan

LARGE = 64e6
"""Bytes per device from which on memory counts for more than running small kernels side by side."""


def compiler_options(plan: Plan, devices: jax.sharding.Mesh) -> dict[str, str]:
    """Options for `jax.jit`: on CPUs, large programs run in the order that saves memory, as on GPUs they do anyway.

    By default XLA:CPU runs whatever is ready, which takes up to a quarter more memory. `planner.order` tells the order.
    """
    on_cpu = devices.devices.flat[0].platform == "cpu"
    large = plan.prediction is None or plan.prediction.peak_bytes >= LARGE
    return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"} if on_cpu and large else {}


WHOLE_LOOP = 2**20
"""Bytes that a round of a loop may read and write for XLA:CPU to compile the loop as one function."""
_WHOLE_LOOP_OPTION = "xla_cpu_small_while_loop_byte_threshold"


def compile_loops_whole(environment: MutableMapping[str, str] = os.environ) -> None:
    """Has XLA:CPU compile loops of little work as one function each, of all that this process compiles.

    By default (JAX 0.7 to 0.12) it does so up to 1 kB a round, and larger loops call a kernel for each of their
    operations. No option of `jax.jit` says this, so it is added to XLA_FLAGS, which XLA reads when a process first
    compiles: it has no effect afterwards, and none where the user's flags have the option already.
    """
    flags = environment.get("XLA_FLAGS", "")
    in_a_file = bool(flags) and not flags.lstrip().startswith("-")
    if not in_a_file and _WHOLE_LOOP_OPTION not in flags:
        option = f"--xla_backend_extra_options={_WHOLE_LOOP_OPTION}={WHOLE_LOOP}"
        environment["XLA_FLAGS"] = f"{flags} {option}".strip()


def quick_options(devices: jax.sharding.Mesh) -> dict[str, bool]:
    """Options for programs of many tiny kernels: on CPUs, XLA's older emitter compiles them in 55 % of the time, and
    they run 8 % slower (eight schools by NUTS, JAX 0.10). Empty where this XLA does not know the older emitter."""
    on_cpu = devices.devices.flat[0].platform == "cpu"
    return {_OLD_EMITTER: False} if on_cpu and _is_known(_OLD_EMITTER) else {}


_OLD_EMITTER = "xla_cpu_use_fusion_emitters"


@cache
def _is_known(option: str) -> bool:
    try:
        jax.jit(lambda x: x + 1, compiler_options={option: False}).lower(jax.ShapeDtypeStruct((), "int32")).compile()
    except Exception:  # XLA raises errors of its own for options that it does not have
        return False
    return True
