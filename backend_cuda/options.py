"""What XLA is told when it compiles a plan."""

from __future__ import annotations

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
