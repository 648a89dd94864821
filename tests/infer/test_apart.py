"""Chains split over an axis run different rounds of a loop: neighbours along another axis do not wait for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import ppl
from backend_cuda import LAX, apart, device_mesh
from backend_cuda.halo import Edge
from ir.mesh import Mesh
from ppl.infer import run
from tests.yardsticks.on_meshes import MACHINES

MODEL = ppl.from_text("""
model ring
dim x = 16
data seen[x]: real
f[x] ~ Normal(0, 1)
seen[x] ~ Normal(f + 0.5 * shift(f, x = 1), 0.5)
""")
DATA = {"seen": np.random.default_rng(1).normal(size=16).astype(np.float32)}


def exchanges(x):
    """[2, n] after a halo on a ring, a spill on a row with ends, and blocks that a few devices send over two axes."""
    ring, row = (Edge(("row", "mid"), 0, 1, 4, 8, periodic) for periodic in (True, False))
    wide = LAX.halo(x[:2], ring)
    x = jnp.concatenate([wide[:1] + wide[1:2] + x[:1], wide[3:] - 2 * x[1:2]])
    x = x + LAX.spill(jnp.concatenate([x, x * x]) % 5.0, row)
    return x + 3 * LAX.permute(x, ("row", "mid"), [(0, 3), (3, 1), (1, 2)])


def test_devices_in_different_rounds_exchange_what_permutes_do():
    mesh = Mesh.parse("chain=2,row=2,mid=2")
    devices, spec = device_mesh(mesh), P(("row", "mid"), "chain")
    x = np.random.default_rng(0).integers(-9, 9, (8, 6)).astype(np.float32)

    def loop(x, rounds):
        return jax.lax.fori_loop(0, rounds, lambda _, x: exchanges(x), x)

    def each(x):
        with apart(devices, ("chain",)):
            return loop(x, 2 + 3 * jax.lax.axis_index("chain"))

    def spread(f):
        return np.asarray(jax.jit(jax.shard_map(f, mesh=devices, in_specs=spec, out_specs=spec, check_vma=False))(x))

    found, two, five = spread(each), spread(lambda x: loop(x, 2)), spread(lambda x: loop(x, 5))
    np.testing.assert_array_equal(found, np.concatenate([two[:, :3], five[:, 3:]], axis=1))


@pytest.fixture
def over(monkeypatch):
    """The posterior of a split field, its two chains on a mesh axis or together."""
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "lax")

    def compiled(mesh, pins):
        plan = ppl.plan(MODEL, DATA, mesh=mesh, machine=MACHINES["gathers are dear"], pins=[pins], chains=2)
        return ppl.compile(MODEL, DATA, plan=plan)

    return compiled


def test_a_sampler_of_split_chains_has_no_permute(over):
    for mesh, pin, has in [("row=4", "f:x=row", True), ("row=4,col=2", "f:x=row,chain=col", False)]:
        posterior, options = over(mesh, pin), ppl.nuts(chains=2, draws=10)
        engine = run._Setup.make(posterior, options, None, predictive=False, abstract=True).engines[-1]
        assert "collective_permute" in engine.gradient.lowered().as_text()
        assert ("collective_permute" in engine.lowered().as_text()) is has


@pytest.mark.parametrize("pins", [["f:x=row,chain=col"], ["chain:col", "f:x=row"]])
def test_one_density_asks_for_no_chains(pins):
    plan = ppl.plan(MODEL, DATA, mesh="row=2,col=2", pins=pins, chains=2)
    posterior, at = ppl.compile(MODEL, DATA, plan=plan), {"f": np.linspace(-1, 1, 16, dtype=np.float32)}
    value, gradient = posterior.value_and_gradient(at)
    assert posterior.gradient_program().plan.layouts["f"].axes("x") == ("row",)
    alone, slope = ppl.compile(MODEL, DATA).value_and_gradient(at)
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    np.testing.assert_allclose(gradient["f"], slope["f"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_chains_of_a_split_field_go_on_without_each_other(over):
    """Trees of NUTS differ in size. The draws are those of chains that wait for each other."""
    algorithm = ppl.nuts(chains=2, warmup=10, draws=10)
    apart_, together = (
        over(mesh, pin).run(algorithm, seed=3, progress=False)
        for mesh, pin in [("row=4,col=2", "f:x=row,chain=col"), ("row=4", "f:x=row")]
    )
    assert np.ptp(apart_.draws["sample_stats"]["n_steps"].values, axis=0).any()
    np.testing.assert_array_equal(apart_["f"], together["f"])
