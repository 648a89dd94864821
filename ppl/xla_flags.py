"""What XLA is told of a whole process: it reads XLA_FLAGS when it is first used, so `import ppl` says this at once."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax

WHOLE_LOOP = 2**20
"""Bytes that a round of a loop may read and write for XLA:CPU to compile the loop as one function."""
_WHOLE_LOOP_OPTION = "xla_cpu_small_while_loop_byte_threshold"

LATE = False
"""Whether JAX had been used before ppl was imported, so that the option has no effect; `import ppl` sets it, once."""


def compile_loops_whole() -> None:
    """Has XLA:CPU compile loops of little work as one function each, of all that this process compiles.

    By default (JAX 0.7 to 0.12) it does so up to 1 kB a round, and larger loops call a kernel for each of their
    operations. No option of `jax.jit` says this, so it is added to XLA_FLAGS, which XLA reads when a process first
    compiles: it has no effect afterwards, and none where the user's flags have the option already.
    """
    global LATE
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = with_whole_loops(flags)
    if wanted != flags:
        os.environ["XLA_FLAGS"] = wanted
        LATE = _jax_was_used()


def with_whole_loops(flags: str) -> str:
    """XLA_FLAGS with the option joined to it: unchanged where they have it already or name a file of flags."""
    names_a_file = bool(flags) and not flags.lstrip().startswith("-")
    if names_a_file or _WHOLE_LOOP_OPTION in flags:
        return flags
    return f"{flags} --xla_backend_extra_options={_WHOLE_LOOP_OPTION}={WHOLE_LOOP}".strip()


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
