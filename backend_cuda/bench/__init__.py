"""Timing the devices at hand: for the planner's constants (`take_timings`), and as a table of collectives, checked.

`python -m backend_cuda.bench` prints the table, ours beside those of `jax.lax`.
"""

from .timings import (
    KINDS,
    MESSAGES,
    NATIVE,
    QUICK_MESSAGES,
    Case,
    Timing,
    check_devices,
    collective_case,
    groups,
    memory_of_device,
    take_timings,
    time_case,
)
from .work import work_cases

__all__ = [
    "KINDS",
    "MESSAGES",
    "NATIVE",
    "QUICK_MESSAGES",
    "Case",
    "Timing",
    "check_devices",
    "collective_case",
    "groups",
    "memory_of_device",
    "take_timings",
    "time_case",
    "work_cases",
]
