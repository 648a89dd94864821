"""What XLA is told of a whole process: it reads XLA_FLAGS when it is first used, so `import ppl` says this at once."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax

WHOLE_LOOP = 2**20
"""Bytes that a round of a loop may read and write for XLA:CPU to compile the loop as one function."""
_WHOLE_LOOP_OPTION = "xla_cpu_small_while_loop_byte_threshold"

LATE = False
"""Whether JAX had been used before ppl was imported, so that the option has no effect."""


def compile_loops_whole(environment: MutableMapping[str, str] = os.environ) -> None:
    """Has XLA:CPU compile loops of little work as one function each, of all that this process compiles.

    By default (JAX 0.7 to 0.12) it does so up to 1 kB a round, and larger loops call a kernel for each of their
    operations. No option of `jax.jit` says this, so it is added to XLA_FLAGS, which XLA reads when a process first
    compiles: it has no effect afterwards, and none where the user's flags have the option already.
    """
    global LATE
    flags = environment.get("XLA_FLAGS", "")
    in_a_file = bool(flags) and not flags.lstrip().startswith("-")
    if not in_a_file and _WHOLE_LOOP_OPTION not in flags:
        option = f"--xla_backend_extra_options={_WHOLE_LOOP_OPTION}={WHOLE_LOOP}"
        environment["XLA_FLAGS"] = f"{flags} {option}".strip()
        LATE = LATE or _jax_was_used()


def slow_loops(devices: jax.sharding.Mesh) -> list[str]:
    """What a run of few latents on these devices should tell: nothing, or why it is slow."""
    if not LATE or devices.devices.flat[0].platform != "cpu":
        return []
    return [
        "JAX was used before ppl was imported, so that XLA runs small models several times slower: import ppl first"
    ]


def _jax_was_used() -> bool:
    """As far as JAX tells: it has no public way to."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(getattr(bridge, "backends_are_initialized", bool)())
