"""Laws of particles on a mesh: paint and read are adjoint, mass and momentum are kept, waves grow, time runs back."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.ops.reduce import Sum
from ir.passes.round_trip import round_trip
from ir.passes.simplify import simplify
from ppl.cosmo.box import Box
from ppl.cosmo.mesh import ParticleMesh
from ppl.cosmo.nbody import simulate

from .simulations import Running, rms, vector
from .stepping import Stepping

KERNELS = ("ngp", "cic", "tsc", "pcs")
SHAPES = {1: (11,), 2: (9, 10), 3: (6, 5, 7)}
CASES = [(1, 1), (1, 2), (2, 1), (3, 1), *(pytest.param(n, 2, marks=pytest.mark.slow) for n in (2, 3))]
"""(rank, how much finer the mesh is)."""


def has_gravity(rank, kernel):
    """In three dims for one kernel alone, to save the time of compiling it."""
    return rank < 3 or kernel == "cic"


@cache
def painted(rank, ratio):
    """(inputs, outputs by kernel): what is painted of weights v, and what is read of a field m, far from home."""
    dims = tuple(Dim(n, s) for n, s in zip("xyz", SHAPES[rank], strict=False))
    box = Box(dims, 1.0)
    t, fine, rng = TensorType(dims, "f64"), TensorType(box.finer(ratio).dims, "f64"), np.random.default_rng(rank)
    shapes = {f"moved.{i}": t for i in range(rank)} | {"v": t, "m": fine}
    inputs = {n: rng.normal(size=s.shape) * (7.0 if n.startswith("moved") else 1.0) for n, s in shapes.items()}
    outputs = {}
    with Builder("painted", "f64") as b:
        given = {n: b.input(n, s, "data") for n, s in shapes.items()}
        moved = tuple(given[f"moved.{i}"] for i in range(rank))
        for kernel in KERNELS:
            particles = ParticleMesh(box, kernel, ratio=ratio)
            outputs |= {
                f"density {kernel}": particles.density(moved)[0],
                f"weighed {kernel}": particles.density(moved, given["v"])[0],
                f"read {kernel}": particles.read(moved, given["m"])[0],
            }
            if has_gravity(rank, kernel):
                outputs |= {f"{kernel} g.{i}": g for i, g in enumerate(particles.gravity(moved)[0])}
        program = simplify(b.finish(outputs))
    return inputs, Running(program)(inputs)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("rank", "ratio"), CASES)
def test_read_is_the_adjoint_of_paint(rank, ratio, kernel):
    """<paint v, m> = <v, read m>; pmwd's CIC keeps it to 5e-16. A density is ratio^rank times what is painted."""
    inputs, found = painted(rank, ratio)
    painting = (found[f"weighed {kernel}"] * inputs["m"]).sum() / ratio**rank
    reading = (inputs["v"] * found[f"read {kernel}"]).sum()
    assert abs(painting - reading) < 1e-13 * np.linalg.norm(inputs["v"]) * np.linalg.norm(inputs["m"])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("rank", "ratio"), CASES)
def test_mass_and_momentum_are_kept(rank, ratio, kernel):
    """The mean density is 1, weights are kept, and forces sum to 0: each kernel reads forces as it paints masses."""
    inputs, found = painted(rank, ratio)
    np.testing.assert_allclose(found[f"density {kernel}"].mean(), 1, rtol=1e-14)
    np.testing.assert_allclose(found[f"weighed {kernel}"].sum() / ratio**rank, inputs["v"].sum(), rtol=1e-12)
    if not has_gravity(rank, kernel):
        return
    g = vector(found, f"{kernel} g")
    assert np.sqrt((g**2).mean()) > 0.05
    assert np.abs(g.sum(0)).max() < 1e-13 * np.abs(g).sum()


# --- a plane wave ---


@pytest.mark.parametrize("count", [1, 4, 25])
def test_a_plane_wave_grows_as_in_linear_theory_in_any_steps(count):
    """Steps of FastPM are exact for D1(a) sin(k q) until paths cross, at k A = 1 (Feng et al. 2016); it ends at 0.5.

    What is left is the mesh's. CIC sees a particle within a cell of its lattice point half a cell late, which is a
    relative k / 4 at most [radians a cell], and less where particles have left their cells.
    """
    n = 1024
    stepping = Stepping((n,), count, start=0.1)
    k = 2 * np.pi / n
    wave = np.sin(k * (np.arange(n) + 0.5)) * 0.5 / k / stepping.growths["D1"][-1]
    with Builder("wave", "f64") as b:
        last = simulate(stepping.given(b), stepping.particles, stepping.factors(b))
        program = simplify(b.finish({"x": last.displacement[0], "p": last.momentum[0]}))
    made = Running(program)(stepping.first(wave) | stepping.inputs)
    assert rms(made["x"], wave * stepping.growths["D1"][-1]) < k / 4
    assert rms(made["p"], wave * stepping.growths["G_D"][-1]) < k / 4


# --- there and back ---


@pytest.mark.parametrize(("real", "bound"), [("f64", 1e-10), ("f32", 1e-2)])
def test_a_simulation_runs_back_to_its_start(real, bound):
    """63 steps to a = 1 and back; bounds are those of pmwd's table (Li et al. 2022) for a mesh as fine as particles."""
    stepping = Stepping((16, 12, 14), 63, real=real)
    with Builder("there and back", real) as b:
        last = simulate(stepping.given(b), stepping.particles, stepping.factors(b))
        program = b.finish({"end": emit(Sum(("x", "y", "z"), "f64"), last.displacement[0])})
    vectors = np.random.default_rng(0).normal(size=(3, 16, 12, 14))
    found = Running(simplify(round_trip(program)))(stepping.first(*vectors) | stepping.inputs)
    names = [n.removeprefix("first:") for n in found if n.startswith("first:")]
    assert len(names) == 6
    for name in names:
        assert rms(found[f"undone:{name}"], found[f"first:{name}"]) < bound, name
