"""What a plan gives to the kernels they perform, the rest is left to `jax.lax`: in one program, each in its turn."""

import dataclasses

import numpy as np
import pytest

import ppl
from backend_cuda import LAX, collectives_of, device_mesh
from backend_cuda.halo import Edge
from backend_cuda.native import NativeCollectives
from ir.mesh import Mesh
from ir.native import Native, is_native
from planner import Machine
from planner.machine import KINDS, NativeLink
from ppl.execute import Executable

from .virtual import binding, program, stack

FIELD = """
model field
dim x = 48, y = 40
dim kx = freq(x), ky = rfreq(y)
data counts[x, y]: int
amp ~ LogNormal(0, 0.5)
white[x, y] ~ Normal(0, 1)
modes[kx, ky] = amp * rfft(white, x -> kx, y -> ky) / (1 + wavenumber(kx, 1.0)^2 + wavenumber(ky, 1.0)^2)
delta[x, y] = irfft(modes, kx -> x, ky -> y)
counts[x, y] ~ Poisson(exp(delta))
"""
DATA = {"counts": np.random.default_rng(3).poisson(1.0, (48, 40))}


def machine(beta: float) -> Machine:
    """A laptop on which ours start at once and carry `beta` bytes a second, as if it had been measured."""
    link = NativeLink((1e-9,) * 5, (1e9, 1.0, 1.0, beta, 1.0))
    return dataclasses.replace(Machine.load("laptop"), native=link)


def planned(machine: Machine):
    return ppl.plan(ppl.from_text(FIELD), DATA, mesh="row=4", machine=machine, chains=2, pins=("white:x=row",))


def executable(plan) -> Executable:
    return Executable(plan.program, plan.plan, device_mesh(plan.plan.mesh))


@pytest.fixture(autouse=True)
def auto(monkeypatch):
    monkeypatch.delenv("MESHBAYES_COLLECTIVES", raising=False)


@pytest.mark.parametrize(("beta", "transposes"), [(1e12, "native"), (1.0, "jax.lax")])
def test_each_collective_is_performed_by_whom_the_plan_says(beta, transposes):
    asked = planned(machine(beta))
    rules, found = asked.plan.native or (), asked.plan.collectives(asked.program)
    ours = {kind: sum(n for c, n in found.items() if c.kind == kind and is_native(rules, c)) for kind in KINDS}
    text = executable(asked).lowered().as_text()
    assert text.count("@meshbayes_all_reduce(") == ours["all_reduce"] > 0
    assert text.count("@meshbayes_exchange(") == ours["all_to_all"]
    of_lax = any(f"stablehlo.{kind}" in text for kind in ("all_to_all", "all_gather"))
    assert of_lax == (transposes == "jax.lax") and of_lax == (ours["all_to_all"] == 0)
    assert "stablehlo.all_reduce" not in text
    lax = planned(Machine.load("laptop"))
    assert lax.plan.native is None and executable(lax).collectives is LAX
    rng = np.random.default_rng(0)
    point = {"amp": np.float64(0.2), "white": rng.normal(size=(48, 40))}
    both = [ppl.compile(ppl.from_text(FIELD), DATA, plan=p).value_and_gradient(point) for p in (asked, lax)]
    assert both[0][0] == pytest.approx(both[1][0], rel=1e-8)
    for name, mine in both[0][1].items():
        np.testing.assert_allclose(mine, both[1][1][name], rtol=2e-5, atol=2e-5)


def test_who_asks_for_one_kind_gets_it_whatever_the_plan_says(monkeypatch):
    rules = planned(machine(1.0)).plan.native
    mesh = device_mesh(Mesh.parse("row=4"))
    assert collectives_of(mesh, rules).name.endswith("as planned")
    assert collectives_of(mesh, ()) is LAX is collectives_of(mesh)
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "lax")
    assert collectives_of(mesh, rules) is LAX
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "native")
    assert collectives_of(mesh, ()).name == "native" and collectives_of(mesh).rules is None


@pytest.mark.parametrize(("along", "calls", "permutes"), [("row col", 1, 0), ("row", 1, 2), ("", 0, 4)])
@pytest.mark.parametrize("what", ["halo", "spill"])
def test_halos_along_two_dims_are_one_call_where_the_plan_gives_both(what, along, calls, permutes):
    mesh, width = "row=2,col=2", (2, 1)
    edges = [Edge(("row",), 0, width[0], 2, 10), Edge(("col",), 1, width[1], 2, 12)]
    shape = (5, 6, 3) if what == "halo" else (9, 8, 3)
    edge = [4 * 2 * 6 * 3, 4 * 9 * 1 * 3] if what == "halo" else [4 * 2 * 8 * 3, 4 * 5 * 1 * 3]  # as plans count them
    every = [Native("collective_permute", e.axes, n, n) for e, n in zip(edges, edge, strict=True)]
    rules = tuple(rule for rule in every if rule.axes[0] in along.split())
    body = lambda comm, x: getattr(comm, what)(x, *edges)  # noqa: E731
    x = stack(mesh, shape)
    ours = program(body, NativeCollectives(binding(mesh), rules=rules), mesh, 1)
    text = ours.lower(x).as_text()
    assert (text.count("@meshbayes_exchange("), text.count("stablehlo.collective_permute")) == (calls, permutes)
    np.testing.assert_array_equal(ours(x), program(body, LAX, mesh, 1)(x))
