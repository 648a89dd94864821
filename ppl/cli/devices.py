"""Virtual devices: on a CPU, a mesh of several devices needs a flag that XLA reads once, when JAX first counts them."""

from __future__ import annotations

import os
import re
import sys

from ir.errors import Diagnostic

FLAG = "--xla_force_host_platform_device_count"


def provide(devices: int) -> bool:
    """Sees to it that a CPU shows as many devices; whether it changed anything. Where there are GPUs it is harmless."""
    flags = os.environ.get("XLA_FLAGS", "")
    have = re.search(rf"{FLAG}=(\d+)", flags)
    if devices <= (int(have[1]) if have else 1):
        return False
    if _started():
        import jax

        if len(jax.devices()) >= devices:
            return False
        raise Diagnostic(
            "plan",
            f"the mesh needs {devices} devices, and JAX has started with {len(jax.devices())}",
            where="--mesh",
            hint=f"set XLA_FLAGS={FLAG}={devices} before Python starts, or run the command in a process of its own",
        )
    others = re.sub(rf"{FLAG}=\d+", "", flags)
    os.environ["XLA_FLAGS"] = f"{others} {FLAG}={devices}".strip()
    return True


def _started() -> bool:
    """Whether JAX has counted its devices in this process."""
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()
