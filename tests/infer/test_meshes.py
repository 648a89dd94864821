"""Every algorithm on 1, 2, 4, 8 and 4 x 2 devices: the same noise, the same transitions, the same distribution.

One transition from each of 20 stored states, compared with one device: within 1e-9 of a conditional standard deviation
in float64 and 1e-3 in float32. Decisions that lie within rounding of their threshold may differ; they are counted.
`pytest -m slow -s` prints the largest deviation and the count of every cell.
"""

import re
from functools import cache

import jax
import numpy as np
import pytest

from ir import counter
from ppl.infer.approximations import CurvatureOptions
from ppl.infer.program import (
    advi,
    chees,
    exact_gaussian,
    gibbs,
    hmc,
    mams,
    map_,
    mclmc,
    nuts,
    pathfinder,
    slice,
    smc,
)
from tests.infer.laid import CONDITIONAL, KEY, Grid, Laid

ONE = Grid()
MESHES = {"2": Grid(2), "4": Grid(4), "8": Grid(8), "4x2": Grid(4, 2), "2x2 and halves of the chains": Grid(2, 2, 2)}
STATES, ITERATIONS = 20, 6
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
MARGIN = {"float64": 1e-9, "float32": 1e-4}
"""Decisions whose probability or U-turn product is so near to their threshold may differ."""
MOVE = {"metric": "scale", "step_size": 0.25}
ALONE = {"chains": STATES, "warmup": 0}

# Algorithm: (options, posterior, whether it has counts, transitions, what is handed over).
ROWS = {
    "nuts": (nuts(**ALONE), "field", True, 1, MOVE),
    "nuts, packed": (nuts(**ALONE), "whole", True, 1, MOVE),
    "hmc": (hmc(**ALONE), "field", True, 1, MOVE),
    "hmc, three stages": (hmc(integrator="three_stage", steps=4, **ALONE), "field", True, 1, MOVE),
    "chees": (chees(**ALONE), "field", True, 1, MOVE),
    # The first transition draws a direction, the second moves.
    "mclmc": (mclmc(thin=1, **ALONE), "field", True, 2, MOVE),
    "mclmc, minimal norm": (mclmc(thin=1, integrator="minimal_norm", **ALONE), "field", True, 2, MOVE),
    "mams": (mams(**ALONE), "field", True, 1, MOVE),
    "mams, langevin": (mams(langevin=True, **ALONE), "field", True, 1, MOVE),
    "slice": (slice(**ALONE), "whole", True, 1, {}),
    # Solved as accurately as is compared; how many products that takes depends on rounding (`UNCOUNTED`).
    "exact_gaussian": (exact_gaussian(dense=0, accuracy=1e-12, **ALONE), "field", False, 1, {}),
    "exact_gaussian, packed": (exact_gaussian(**ALONE), "whole", False, 1, {}),
    "gibbs": (gibbs(s=slice(), r=exact_gaussian(dense=0), x=hmc(), **ALONE), "field", True, 1, MOVE),
    "smc": (smc(particles=STATES), "field", True, 1, {}),
    "map, lbfgs": (map_(chains=STATES), "field", True, ITERATIONS, {}),
    "map, cg": (map_(chains=STATES, optimiser="cg"), "field", True, ITERATIONS, {}),
    "map, adam": (map_(chains=STATES, optimiser="adam"), "field", True, ITERATIONS, {}),
    "laplace": (CurvatureOptions(chains=STATES, steps=12), "field", True, 1, {}),
    "laplace, packed": (CurvatureOptions(chains=STATES), "whole", True, 1, {}),
    "advi": (advi(chains=STATES), "field", True, ITERATIONS, {}),
    "advi, low rank": (advi(chains=STATES, rank=2), "field", True, ITERATIONS, {}),
    "pathfinder": (pathfinder(chains=STATES, samples=4), "field", True, ITERATIONS, {}),
}
UNCOUNTED = {"exact_gaussian"}
FAST = {("hmc", "4x2", "float64")}
CELLS = [
    pytest.param(*cell, marks=() if cell in FAST else pytest.mark.slow, id="-".join(cell))
    for cell in ((row, mesh, dtype) for row in ROWS for dtype in TOLERANCE for mesh in MESHES)
]


def laid(row, grid, dtype):
    options, posterior, counted, transitions, handed = ROWS[row]
    return Laid(options, posterior, counted, grid, dtype, transitions, **handed)


@cache
def on_one_device(row, dtype):
    return laid(row, ONE, dtype).run()


def enough_devices():
    if len(jax.devices()) < 8:
        pytest.skip("needs eight (virtual) devices")


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mesh", [m if m == "4x2" else pytest.param(m, marks=pytest.mark.slow) for m in MESHES])
def test_noise_is_the_same_bit_for_bit_and_zero_on_padding(mesh, dtype):
    enough_devices()
    names = ("x", "r", "s")

    def noise(grid):
        space = grid.space(names, 4, dtype)

        def body():
            keys = counter.derive(KEY, space.chain_ids(), np.uint32(3))
            return space.normal(keys, 4)

        with jax.enable_x64(True):
            made = grid.spmd(body, (), {n: grid.spec(n) for n in names})()
        assert {v.dtype for v in made.values()} == {np.dtype(dtype)}
        return {n: grid.cut(n, v) for n, v in made.items()}

    whole, cut = noise(ONE), noise(MESHES[mesh])
    assert whole["x"].std() > 0.8
    for name in names:
        np.testing.assert_array_equal(cut[name], whole[name])


def deviations(got, want, dtype, certain, counted=True):
    """The largest difference of vectors over the certain chains, in conditional deviations; the whole and the real
    numbers of the infos are compared too, gradients spent if they are `counted`."""
    position, gradient, log_density, draws, info = got
    position1, gradient1, log_density1, draws1, info1 = want
    largest = 0.0
    for name in position:
        unit = CONDITIONAL[name]
        for a, b, scale in (
            (position[name], position1[name], unit),
            (draws[name], draws1[name], unit),
            (gradient[name], gradient1[name], 2 / unit),  # curvatures, of high counts, come to twice 1 / unit^2
        ):
            assert np.isfinite(b).all()
            largest = max(largest, np.abs(a - b)[certain].max(initial=0.0) / scale)
    fields = [f for f in info._fields if counted or f != "leapfrogs"]
    told = [(f, getattr(info, f)[certain], getattr(info1, f)[certain]) for f in fields]
    for field, a, b in [*told, ("log_density", log_density[certain], log_density1[certain])]:
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=field)
        else:
            np.testing.assert_array_equal(a, b, err_msg=field)
    return largest


def certain_chains(info, dtype):
    """bool[chain]: none of its decisions lies within rounding of its threshold, as far as the algorithm tells."""
    margins = [getattr(info, f) for f in ("accept_margin", "turn_margin") if hasattr(info, f)]
    none = np.ones(STATES, bool)
    return np.logical_and.reduce([none, *((m > MARGIN[dtype]).all(axis=1) for m in margins)])


@pytest.mark.parametrize(("row", "mesh", "dtype"), CELLS)
def test_one_transition_from_every_stored_state_is_that_of_one_device(row, mesh, dtype):
    enough_devices()
    cell, want = laid(row, MESHES[mesh], dtype), on_one_device(row, dtype)
    got = cell.run()
    certain = certain_chains(want[-1], dtype)
    largest = deviations(got, want, dtype, certain, row not in UNCOUNTED)
    print(f"\n{row} | {mesh} | {dtype}: {largest:.1e}, within rounding {np.sum(~certain)} of {STATES}")
    assert largest < TOLERANCE[dtype]
    assert np.sum(~certain) < 0.02 * STATES
    moved = [np.abs(want[3][n][:, -1] - cell.grid.cut(n, v)).max() for n, v in cell.stored.items()]
    assert max(moved) > 0.01, "nothing has moved"
    check_collectives(cell, row)


def check_collectives(cell, row):
    """No vector is gathered, moved or all-reduced; a population that is split over devices may gather its particles,
    and ensembles sum over their chains."""
    if cell.grid.chains > 1 and row in ("chees", "smc"):
        return
    text = cell.lowered.as_text()
    assert not re.search(r"all_gather|all_to_all|collective_permute|reduce_scatter", text)
    shapes = re.findall(r"all_reduce.*?-> tensor<([0-9x]*)x?[fi][0-9]+>", text, re.S)
    block = "x".join(str(n) for n in cell.grid.block)
    assert shapes and not any(block in shape for shape in shapes)


# Whole runs, warm-up included, of the Gaussian field: (options, transitions).
LONG = {
    "nuts": nuts(chains=STATES, warmup=150, draws=150),
    "nuts, low rank": nuts(chains=STATES, warmup=150, draws=150, metric="low_rank", rank=4),
    "hmc": hmc(chains=STATES, warmup=150, draws=150),
    "chees": chees(chains=STATES, warmup=150, draws=150),
    "mclmc": mclmc(chains=STATES, warmup=600, draws=600, thin=1),
    "mams": mams(chains=STATES, warmup=150, draws=150),
    "exact_gaussian": exact_gaussian(dense=0, chains=STATES, warmup=0, draws=60),
    # r given the others is round: one product solves for it, and room for more is time (1000: 20 times as much).
    "gibbs": gibbs(s=slice(), r=exact_gaussian(dense=0, iterations=20), x=hmc(), chains=STATES, warmup=100, draws=150),
}


def ran(row, grid):
    options = LONG[row]
    _, _, _, draws, _ = Laid(options, "field", False, grid, "float64", options.warmup + options.draws).run()
    return {n: v[:, options.warmup :] for n, v in draws.items()}


def summaries(draws):
    """[chain] means of numbers and squares: what is compared between meshes."""
    scalars = {"s": draws["s"], "r": draws["r"][..., 3], "x": draws["x"][..., 4, 5], "mean": draws["x"].mean((2, 3))}
    centred = {n: v - v.mean() for n, v in scalars.items()}
    return {
        **{n: v.mean(1) for n, v in scalars.items()},
        **{f"{n} squared": (v**2).mean(1) for n, v in centred.items()},
    }


@pytest.mark.slow
@pytest.mark.parametrize("row", LONG)
def test_whole_runs_are_equal_in_distribution_and_bit_for_bit_on_the_same_mesh(row):
    """Means and squares of 20 chains against those of one device, eight comparisons of 4.5 deviations (Student's t of
    38 degrees: a false alarm of 5e-4 a row, seeds are fixed)."""
    enough_devices()
    one, cut = ran(row, ONE), ran(row, MESHES["4x2"])
    again = ran(row, MESHES["4x2"])  # compiled anew
    for name in cut:
        np.testing.assert_array_equal(cut[name], again[name])
    a, b = summaries(one), summaries(cut)
    t = {n: (a[n].mean() - b[n].mean()) / np.sqrt((a[n].var(ddof=1) + b[n].var(ddof=1)) / STATES) for n in a}
    print(f"\n{row}: largest t {max(map(abs, t.values())):.2f}")
    assert max(map(abs, t.values())) < 4.5
