"""A layout never changes a simulation: noise is equal bit for bit, density to 1e-6 and gradients to 1e-5, in float32.

One program a mesh: noise; 2LPT and two steps; densities with every kernel and on a mesh twice as fine; the gradient, in
the white noise, of the variance with CIC and TSC. Where blocks are too small for the halo, or those of lattice and fine
mesh do not line up, the plan paints on whole dims.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from ir.build import Builder
from ir.ops.random import KEY, RandomNormal
from ppl.cosmo.nbody import simulate
from tests.yardsticks.on_meshes import MACHINES

from .simulations import Running, gradient, rms, variance
from .stepping import Stepping

SHAPES = {"even": (32, 16, 12), "uneven": (18, 15, 10)}
PINS = {
    "row=2": ("white:x=row",),
    "row=4": ("white:x=row",),
    "row=2,col=2": ("white:x=row,y=col",),
    "row=8": ("white:x=row",),
}


@cache
def stepping(sizes):
    """Displacements of at most 2 cells, which blocks of 4 can reach with any kernel."""
    return Stepping(SHAPES[sizes], 2, start=0.3, real="f32", reach=2, far=1.0)


@cache
def run(sizes, mesh="1", ownership="halo"):
    setting, key = stepping(sizes), np.array([7, 11], np.uint32)
    owned = dataclasses.replace(setting.particles, ownership=ownership, capacity=2)
    with Builder("layouts", "f32") as b:
        (noise,) = b.emit_all(RandomNormal(setting.dims, "white"), b.input("key", KEY, "data"), names=["noise"])
        last = simulate(setting.begun(b), owned, setting.factors(b))
        outputs, total = {"noise": noise}, None
        for kernel, ratio in (("ngp", 1), ("cic", 1), ("tsc", 1), ("pcs", 1), ("cic", 2)):
            particles = dataclasses.replace(owned, kernel=kernel, ratio=ratio, reach=2 * ratio)
            density, _ = particles.density(last.displacement)
            if kernel in ("cic", "tsc"):
                total = variance(density) if total is None else total + variance(density)
            outputs[f"density {kernel} {ratio}"] = density
        outputs |= {f"moved {i}": d for i, d in enumerate(last.displacement)} | {"variance": total}
        program = gradient(b.finish(outputs), ["white"])
    pins = (*PINS[mesh], f"noise:{PINS[mesh][0].split(':')[1]}") if mesh != "1" else ()
    running = Running(program, mesh, pins, MACHINES["gathers are dear"])
    return running, running(setting.inputs | {"key": key})


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("ownership", ["halo", "migrate"])
@pytest.mark.parametrize("mesh", [pytest.param(m, marks=pytest.mark.slow) for m in PINS])
def test_a_mesh_never_changes_a_simulation(sizes, mesh, ownership):
    (_, one), (running, many) = run(sizes), run(sizes, mesh, ownership)
    assert max(np.abs(one[f"moved {i}"]).max() for i in range(3)) < 2, "the test is about particles within reach"
    if sizes == "even":
        moves = {s.move.kind for s in running.plan.steps(running.program)}
        wanted = {"halo", "spill"} if ownership == "halo" else {"pass"}
        assert wanted <= moves, "the plan was meant to split particles and mesh"
    np.testing.assert_array_equal(many["noise"], one["noise"])
    for name, x in one.items():
        if name.startswith("density"):
            assert rms(many[name], x) < 1e-6, name
    assert rms(many["grad:white"], one["grad:white"]) < 1e-5
    np.testing.assert_allclose(many["variance"], one["variance"], rtol=1e-6)
