"""Programs compiled by XLA for GPUs on a machine that has none: `make test-gpu-aot` installs what that takes."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from backend_cuda.inspect import emitted, optimised
from ir.graph import Program
from ir.mesh import Mesh
from ir.plan import Plan
from ppl.execute import Executable

TARGET = Path(__file__).parent / "h200.txtpb"
needs_compiler = pytest.mark.skipif(
    not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)),
    reason="XLA's GPU compiler is not installed: make test-gpu-aot installs it",
)


@cache
def devices(mesh: Mesh) -> jax.sharding.Mesh:
    """The devices of a mesh of H200s that nobody has."""
    from jax.experimental import topologies

    shape = f"1x1x{mesh.devices}"  # slices x hosts x devices
    described = topologies.get_topology_desc(platform="cuda", target_config=TARGET.read_text(), topology=shape)
    return jax.sharding.Mesh(np.array(described.devices).reshape(mesh.shape), mesh.names)


@dataclass(frozen=True)
class Compiled:
    """What XLA made of a plan for GPUs."""

    lowered: Any
    compiled: Any
    mesh: Mesh

    @property
    def bytes(self) -> int:
        """Argument, output and temporary memory of one device, what is shared counted once."""
        m = self.compiled.memory_analysis()
        return m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes - m.alias_size_in_bytes

    @property
    def transforms(self) -> int:
        """The number of FFT instructions in XLA's program."""
        return len(re.findall(r"= \S+ fft\(", self.compiled.as_text()))

    def emitted(self) -> list[Any]:
        return emitted(self.lowered, self.mesh)

    def optimised(self) -> list[Any]:
        return optimised(self.compiled, self.mesh)


def compile_for_gpus(program: Program, plan: Plan) -> Compiled:
    """Lowers a plan and compiles it for as many H200s as its mesh has devices."""
    lowered = Executable(program, plan, devices(plan.mesh)).lowered()
    return Compiled(lowered, lowered.compile(), plan.mesh)
