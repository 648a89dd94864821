"""Particles beyond what devices hold, in whole models: told with the right step and room, and then held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ppl
from ir.ops.ownership import Particles
from ir.ops.sites import Limit
from ir.passes.enlarge import manners_of
from ppl.limits import Beyond, Exceeded, of_rows
from tests.examples import examples

from .moving import NAMES, SHAPE, data_of, planned, posterior

REACH, CAPACITY = 2, 1


def first_beyond(velocity, times, plan):
    """Which density of the three is the first that devices cannot hold (None: all are), from where particles stand."""
    for number, (time, (parts, method)) in enumerate(zip(times, plan, strict=True)):
        moved = [time * v for v in velocity]
        far = {d: np.abs(moved[NAMES.index(d)]).max() for d in parts}
        if method == "migrate":
            beyond = any(far[d] > SHAPE[NAMES.index(d)] // n for d, n in parts.items()) or overfull(moved, parts)
        else:
            beyond = any(f > REACH for f in far.values())
        if beyond:
            return number
    return None


def overfull(moved, parts):
    """Whether more particles leave a block through one of its faces than it has in a layer, along one dim after the
    other; a particle stands in the cell that is the whole part of its place."""
    points, where = np.indices(SHAPE), {}
    layer = np.prod(SHAPE) / np.prod(list(parts.values()))
    for d, n in parts.items():
        i, size = NAMES.index(d), SHAPE[NAMES.index(d)] // n
        home = points[i] // size
        cell = np.floor(points[i] + moved[i])
        others = [
            where.get(e, points[NAMES.index(e)] // (SHAPE[NAMES.index(e)] // m)) for e, m in parts.items() if e != d
        ]
        device = home + sum((o * 2 ** (k + 1) for k, o in enumerate(others)), 0)
        for leaves in (cell < home * size, cell >= (home + 1) * size):
            if np.bincount(device[leaves].astype(int), minlength=1).max() > CAPACITY * layer / size:
                return True
        where[d] = np.floor_divide(cell, size).astype(int) % n
    return False


def hold(mesh, split, ownership, velocity, times):
    """Runs with the room that is told until all is held, and holds what is told and made to what must be."""
    data, manner, last = data_of(velocity, times), (REACH, CAPACITY, ownership), -1
    one, nothing = planned("1", "", *manner)(data)
    assert not nothing and abs(one.sum() - one.size) < 1e-2
    wanted = first_beyond(velocity, times, planned(mesh, split, *manner).parts)
    for _ in range(8):
        program = planned(mesh, split, *manner)
        made, found = program(data)
        assert bool(found) == (not np.isfinite(made).all()), "told, and only then no number"
        if not found:
            assert (wanted is None) == (last < 0)
            np.testing.assert_allclose(made, one, rtol=0, atol=1e-5)  # float32, of densities of about 1
            assert abs(made.sum() - made.size) < 1e-2
            return
        (e,) = found
        now = 2 if e.step is None else e.step - 1
        parts, method = program.parts[now]
        assert now == wanted if last < 0 else now >= last
        assert (ownership == "migrate") == (method == "migrate") and bool(parts)
        assert e.cells == np.abs([times[now] * v for v in velocity]).max()
        assert now > last or e.fill > 0, "a reach that is told does; buffers may be filled again"
        last, manner = now, e.manner(room=1.0)
        if manner is None:
            far = [times[now] * velocity[NAMES.index(d)] / (SHAPE[NAMES.index(d)] // n) for d, n in parts.items()]
            assert e.load == pytest.approx(np.abs(far).max()) and e.load > 1, "farther than the smallest block"
            return
    raise AssertionError("what was told never did")


SIDES = st.tuples(st.sampled_from(NAMES), st.sampled_from([-1.0, 1.0]))


@pytest.mark.parametrize("ownership", ["halo", "migrate"])
@given(side=SIDES, step=st.integers(0, 3), held=st.sampled_from([0.25, 1.0]))
@settings(max_examples=examples(40), derandomize=True)
def test_what_goes_too_far_at_any_step_to_any_side_is_told_and_then_held(ownership, side, step, held):
    """All particles go four cells at once, from the density of that number on (3: at none)."""
    velocity = [np.full(SHAPE, side[1] if d == side[0] else 0.0) for d in NAMES]
    hold("row=2", "x=row", ownership, velocity, [held if k < step else 4.0 for k in range(3)])


motions = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "most": st.lists(st.sampled_from([0, 1, 4, 8]), min_size=3, max_size=3),
        "bulk": st.lists(st.sampled_from([-4, 0, 0, 4]), min_size=3, max_size=3),
        "times": st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=3, max_size=3),
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("ownership", ["halo", "migrate"])
@pytest.mark.parametrize("split", ["x=row,y=col", "y=row,z=col"])
@given(motion=motions)
@settings(max_examples=examples(40), derandomize=True)
def test_what_goes_any_way_is_told_and_then_held(split, ownership, motion):
    """Places are whole quarters of cells, exact in float32."""
    rng, times = np.random.default_rng(motion["seed"]), motion["times"]
    velocity = [rng.integers(-m, m + 1, SHAPE) / 4 + b / 4 for m, b in zip(motion["most"], motion["bulk"], strict=True)]
    hold("row=2,col=2", split, ownership, velocity, times)


def going(times, ownership="halo"):
    """All particles go along x."""
    velocity = [np.ones(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE)]
    return posterior(data_of(velocity, times), "row=2", "x=row", REACH, CAPACITY, ownership)


@pytest.mark.slow
def test_a_run_that_cannot_start_is_planned_again_and_says_so():
    found = going([0.0, 1.0, 4.0])
    result = found.run(ppl.hmc(chains=2, warmup=2, draws=3, steps=2), init={"scale": 1.0}, predictive=False)
    (note,) = [n for n in result.notes if "planned again" in n]
    assert "a particle has gone 4 cells, more than the reach of 2" in note and "reach = 5" in note
    assert found.larger is result.posterior and np.isfinite(result.draws["posterior"]["density"].values).all()


@pytest.mark.slow
def test_proposals_beyond_what_devices_hold_are_told():
    """Of a scale of 1 +- 0.3, that above 2 / 1.9 cannot be drawn."""
    found = going([0.0, 1.0, 1.9])
    result = found.run(ppl.hmc(chains=2, warmup=20, draws=40), init={"scale": 0.8}, predictive=False)
    assert "more than the reach of 2; with reach = " in result.draws.attrs["beyond"]
    assert any(n.startswith("while draws were made, proposals of chain") for n in result.notes)
    assert result.draws["posterior"]["scale"].values.max() <= 2 / 1.9


@pytest.mark.slow
def test_where_no_room_would_do_the_reason_is_told():
    """Blocks are 6 cells wide."""
    with pytest.raises(Beyond, match=r"no more room would hold them; .* that is to migrate has gone 1\.17 times"):
        going([0.0, 1.0, 7.0], "migrate").run(ppl.hmc(chains=1, warmup=1, draws=1), init={"scale": 1.0})


@pytest.mark.slow
def test_a_prior_draw_is_made_with_more_room():
    found = going([0.0, 1.0, 8.0])
    with pytest.warns(UserWarning, match=r"draw 0: on the mesh .* planned again with reach = "):
        drawn = found.draw_prior(seed=1)
    assert np.isfinite(drawn["density"]).all()
    np.testing.assert_allclose(found.draw_prior(seed=1)["density"], drawn["density"], atol=1e-5)


def test_further_programs_own_particles_as_the_gradient_does():
    found = posterior(data_of([np.zeros(SHAPE)] * 3, [0.0] * 3), "row=2", "x=row", REACH, CAPACITY, "auto")
    open_ = {n.op.ownership for n in found.program("density").walk() if isinstance(n.op, Particles)}
    gradient = found.gradient_program(chains=2)
    ((_, _, way),) = manners_of(gradient.program, gradient.plan).values()
    density = found.executable(found.program("density")).program
    assert open_ == {"auto"}
    assert {n.op.ownership for n in density.walk() if isinstance(n.op, Particles)} == {way}


def test_the_first_step_and_the_largest_need_are_told():
    """Of needs (load, cells, fill) of two chains and three steps; there are none after a step that goes beyond."""
    limit = Limit("load", ("x",), 4, 3, "auto")
    none = [np.inf, np.inf, -1.0]
    need = np.array([[[0.5, 2, -1], [1.5, 6, -1], none], [[1.25, 5, -1], none, none]])
    found = of_rows(limit, need, True)
    assert found is not None and found == Exceeded(limit, 1, 3, 1.5, 6.0, -1.0)
    assert found.manner(1.0) == (6, 5, "auto")
    assert of_rows(limit, need[:1, :1], True) is None
    full = of_rows(limit, np.array([[[2.5, 3.0, 2.5]]]), False)
    assert full is not None and full.step is None and full.manner(1.0) == (11, 8, "auto")
    far = of_rows(limit, np.array([[[2.5, 10.0, 1.5]]]), False)
    assert far is not None and far.manner(1.0) == (10, 3, "halo")
