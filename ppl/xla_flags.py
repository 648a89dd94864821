"""What XLA is told of a whole process: it reads XLA_FLAGS when it is first used, so `import ppl` says this at once."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax

WHOLE_LOOP = 2**20
"""Bytes that a round of a loop may read and write for XLA:CPU to compile the loop as one function."""
OPTIONS = {
    "xla_cpu_small_while_loop_byte_threshold": str(WHOLE_LOOP),
    # A sampler of few latents is hundreds of loops of four to forty rounds: to unroll them is a third of the time that
    # it takes to compile, and what they gain cannot be measured; nor can what loops over fields lose.
    "xla_cpu_disable_loop_unrolling": "true",
}
"""What XLA:CPU is told, of all that this process compiles."""

LATE = False
"""Whether JAX had been used before ppl was imported, so that the options have no effect; `import ppl` sets it, once."""


def compile_loops_whole() -> None:
    """Has XLA:CPU compile loops of little work as one function each, not unrolled, of all that this process compiles.

    By default (JAX 0.7 to 0.12) it does so up to 1 kB a round, and larger loops call a kernel for each of their
    operations. No option of `jax.jit` says this, so it is added to XLA_FLAGS, which XLA reads when a process first
    compiles: it has no effect afterwards, and none where the user's flags have the option already.
    """
    global LATE
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = with_options(flags)
    if wanted != flags:
        os.environ["XLA_FLAGS"] = wanted
        LATE = _jax_was_used()


def with_options(flags: str) -> str:
    """XLA_FLAGS with those of `OPTIONS` joined to it that they have not; unchanged where they name a file of flags."""
    names_a_file = bool(flags) and not flags.lstrip().startswith("-")
    missing = {name: value for name, value in OPTIONS.items() if name not in flags}
    if names_a_file or not missing:
        return flags
    told = ",".join(f"{name}={value}" for name, value in missing.items())
    return f"{flags} --xla_backend_extra_options={told}".strip()


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
