"""What XLA is told when it compiles a plan."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax

from ir.graph import Program
from ir.plan import Plan

from .spmd import on_cpu

LARGE = 64e6
"""Bytes per device from which on memory counts for more than running small kernels side by side."""


def compiler_options(plan: Plan, devices: jax.sharding.Mesh) -> dict[str, str]:
    """Options for `jax.jit`: on CPUs, large programs run in the order that saves memory, as on GPUs they do anyway.

    By default XLA:CPU runs whatever is ready, which takes up to a quarter more memory. `planner.order` tells the order.
    """
    large = plan.prediction is None or plan.prediction.peak_bytes >= LARGE
    return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"} if on_cpu(devices) and large else {}


def quick_options(devices: jax.sharding.Mesh) -> dict[str, bool]:
    """Options for programs of many tiny kernels: on CPUs, XLA's older emitter compiles them in 55 % of the time, and
    they run 8 % slower (eight schools by NUTS, JAX 0.10). Empty where this XLA does not know the older emitter.

    For models that are packed into one site. Where a kernel holds the noise of several sites, the older emitter can
    take minutes (`advi` of low rank).
    """
    return {_OLD_EMITTER: False} if on_cpu(devices) and _is_known(_OLD_EMITTER) else {}


def hasty_options(program: Program, plan: Plan, devices: jax.sharding.Mesh) -> dict[str, Any]:
    """Options for a program that runs a few times only: on CPUs a small one is compiled without optimisation, in a
    quarter to a half of the time. Those of `compiler_options` for others.

    Which programs are small does not depend on the plan: optimisation may change the last bit of noise.
    """
    types = [v.type for n in program.walk() for v in n.results] + [i.type for i in program.inputs]
    small = max((t.size * t.itemsize for t in types), default=0) < LARGE / 64
    if not on_cpu(devices) or not small:
        return dict(compiler_options(plan, devices))
    return {
        **quick_options(devices),
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }


_OLD_EMITTER = "xla_cpu_use_fusion_emitters"


@cache
def _is_known(option: str) -> bool:
    try:
        jax.jit(lambda x: x + 1, compiler_options={option: False}).lower(jax.ShapeDtypeStruct((), "int32")).compile()
    except Exception:  # XLA raises errors of its own for options that it does not have
        return False
    return True
