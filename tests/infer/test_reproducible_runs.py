"""Runs with `reproducible = true`: the same bits on every mesh."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import ppl
from ir.errors import Diagnostic

RNG = np.random.default_rng(4)
DATA = {"y": RNG.normal(size=(9, 11)), "c": RNG.poisson(2.0, size=(9, 11)), "load": RNG.normal(size=(11, 3))}
SPLITS = {"row=2": "white:x=row", "row=4": "white:x=row", "row=4,col=2": "white:x=row,z=col"}


@ppl.model(dims=("k",))
def layered(y: ppl.Data["x", "z"], c: ppl.Count["x", "z"], load: ppl.Data["z", "k"]):
    """Elementwise likelihoods of a field, hyper-parameters, and a contraction of a split dim."""
    m = ppl.sample("m", ppl.Normal(0.0, 1.0))
    s = ppl.sample("s", ppl.HalfNormal(1.0))
    b = ppl.sample("b", ppl.Normal(0.0, 1.0), dims="k")
    white = ppl.sample("white", ppl.Normal(0.0, 1.0), dims=("x", "z"))
    f = m + s * white + ppl.contract(load, b, over="k")
    ppl.observe("y", ppl.Normal(f, 0.5), y)
    ppl.observe("c", ppl.Poisson(ppl.exp(f)), c)


@functools.cache
def posterior(mesh, dtype):
    if mesh == "1":
        return ppl.compile(layered, DATA, dtype=dtype)
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")
    plan = ppl.plan(layered, DATA, mesh=mesh, pins=(SPLITS[mesh],), dtype=dtype)
    return ppl.compile(layered, DATA, plan=plan, dtype=dtype)


def density(mesh, dtype, reproducible):
    """The log density and gradient of three chains."""
    found, rng = posterior(mesh, dtype), np.random.default_rng(8)
    gradient = found.gradient_program(3, reproducible=reproducible)
    at = {n: rng.normal(size=(3, *t.shape)).astype(t.numpy) for n, t in found.latents.items()}
    return gradient.run({**found.hoisted(gradient), **at})


CELLS = [(m, d) for m in SPLITS for d in ("float32", "float64")]
FAST = ("row=4", "float32")


@pytest.mark.parametrize(
    ("mesh", "dtype"),
    [c if c == FAST else pytest.param(*c, marks=pytest.mark.slow) for c in CELLS if "col" not in c[0]],
)
def test_density_and_gradient_have_the_same_bits_on_every_mesh(mesh, dtype):
    whole, cut, plain = (density(m, dtype, r) for m, r in (("1", True), (mesh, True), (mesh, False)))
    for name in whole:
        np.testing.assert_array_equal(cut[name], whole[name])
        scale = np.abs(whole[name]).max()
        np.testing.assert_allclose(plain[name], whole[name], rtol=1e-5, atol=1e-5 * scale)
    assert any((plain[n] != whole[n]).any() for n in whole), "plain sums agree here: this tests nothing"


ON_ALL = """
from tests.infer.test_reproducible_runs import CELLS, density
for mesh, dtype in CELLS:
    whole, cut = density("1", dtype, True), density(mesh, dtype, True)
    assert all((whole[n] == cut[n]).all() for n in whole), (mesh, dtype)
print(len(CELLS), "cells")
"""


@pytest.mark.slow
def test_without_fused_multiply_add_elements_have_the_same_bits_on_two_axes_too():
    """What XLA:CPU contracts depends on the shape of a block: on 4 x 2 devices it changes last bits of a gradient."""
    flags = "--xla_force_host_platform_device_count=8 --xla_cpu_max_isa=AVX"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", ON_ALL]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "6 cells", done.stderr[-2000:]


PROGRAMS = {
    "nuts": ppl.nuts(chains=2, warmup=60, draws=20, reproducible=True),
    "mclmc": ppl.mclmc(chains=2, warmup=100, draws=20, thin=1, reproducible=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_draws_have_the_same_bits_on_every_mesh(program):
    """Warm-up included, on 1, 2 and 4 devices."""
    runs = {
        mesh: posterior(mesh, "float64").run(PROGRAMS[program], seed=1, predictive=False, progress=False)
        for mesh in ("1", "row=2", "row=4")
    }
    for mesh, run in runs.items():
        for name in ("m", "s", "b", "white"):
            np.testing.assert_array_equal(run[name], runs["1"][name], err_msg=f"{name} on {mesh}")
    assert np.ptp(runs["1"]["s"], axis=1).min() > 0


def test_the_option_counts_for_all_stages_and_is_checked():
    both = ppl.map(warmup=10, reproducible=True) >> ppl.nuts()
    assert both.reproducible and all(stage.reproducible for stage in both.stages())
    assert str(both) == "map(warmup = 10) >> nuts(reproducible = true)"
    with pytest.raises(Diagnostic, match="reproducible must be true or false"):
        ppl.nuts(reproducible=1)
    with pytest.raises(Diagnostic, match="reproducible sums exclude"):
        posterior("1", "float64").run(ppl.slice(only=["m"], reproducible=True), predictive=False, progress=False)
