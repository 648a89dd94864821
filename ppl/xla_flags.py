"""What XLA is told of a whole process: it reads XLA_FLAGS when it is first used, so `import ppl` says this at once."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

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
