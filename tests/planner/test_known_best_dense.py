"""Known best plans of regressions, matrix products and hierarchical models: closed forms that plans must attain."""

import pytest

from ir.layout import Layout, block
from tests.planner.prices import across, crossing, exactly, fused, inside, kinds, plan_of, product, seconds, work
from tests.planner.programs import one_layer, partial_sums, perceptron, pooled, regression

ROW = inside(8)


# --- 1: regression ---


def regression_by_rows(n: int, d: int, parts: int = 8) -> float:
    """All devices hold w and n/P rows; what is added up over devices is 4 B of loss and 4d B of gradient."""
    m = block(n, parts)
    compute = product(m, 1, over=d) + fused(m, 12 * m) + work(2 * m, 8 * m + 4) + product(1, d, over=m)
    return compute + halved() + ROW.all_reduce(4) + ROW.all_reduce(4 * d)


def regression_by_features(n: int, d: int, parts: int = 8) -> float:
    """Each device holds d/P columns; what is added up is 4n B of predictions."""
    m = block(d, parts)
    compute = product(n, 1, over=m) + fused(n, 12 * n) + work(2 * n, 8 * n + 4) + product(1, m, over=n)
    return compute + halved() + ROW.all_reduce(4 * n)


def halved() -> float:
    """The constant one half, and the multiplication by it."""
    return fused(0, 4) + fused(1, 12)


@pytest.mark.parametrize("n", [10_000_003, 100_000_007])
def test_regression_on_much_data_adds_its_gradient_up_once(n):
    program = regression(n, d=200)
    plan = plan_of(program, "row=8")
    assert seconds(plan) == exactly(regression_by_rows(n, 200))
    assert plan.layouts["x"] == Layout.of({"n": "row"}) and plan.layouts["w"] == Layout.of()
    assert {(c.kind, c.bytes): k for c, k in plan.collectives(program).items()} == {
        ("all_reduce", 4): 1,
        ("all_reduce", 800): 1,
    }


def test_regression_with_many_features_adds_its_predictions_up_once():
    program = regression(n=2_001, d=40_000_003)
    plan = plan_of(program, "row=8")
    assert seconds(plan) == exactly(regression_by_features(2_001, 40_000_003))
    assert plan.layouts["w"] == Layout.of({"d": "row"})
    assert {(c.kind, c.bytes): k for c, k in plan.collectives(program).items()} == {("all_reduce", 8_004): 1}


def test_regression_flips_from_rows_to_features_where_the_closed_forms_cross():
    """With n·d = 4e9 fixed in steps of 64 the product costs the same; the sums of 4d B against 4n B decide."""
    size = 64_000
    by_rows = lambda k: regression_by_rows(64 * (size // k) * 8, 8 * k)  # noqa: E731
    by_features = lambda k: regression_by_features(64 * (size // k) * 8, 8 * k)  # noqa: E731
    flip = crossing(by_rows, by_features, 10, 60_000)
    for k, split in ((flip - flip // 20, "n"), (flip + flip // 20, "d")):
        n, d = 64 * (size // k) * 8, 8 * k
        plan = plan_of(regression(n, d), "row=8")
        assert seconds(plan) == exactly(min(by_rows(k), by_features(k)))
        assert plan.layouts["x"] == Layout.of({split: "row"})


def test_a_gradient_over_two_kinds_of_link_is_scattered_inside_summed_across_and_gathered_inside():
    """2(s-1)/s·S on the fast link, and only S/s on the slow one."""
    n, d = 40_000_000, 1_000_000
    program = regression(n, d)
    plan = plan_of(program, "node=4,gpu=8", pins=["x:n=node+gpu"])
    m, gpu, node = n // 32, inside(8), across(4)
    compute = product(m, 1, over=d) + fused(m, 12 * m) + work(2 * m, 8 * m + 4) + product(1, d, over=m) + halved()
    loss = gpu.all_reduce(4) + node.all_reduce(4)
    gradient = gpu.reduce_scatter(4 * d) + node.all_reduce(4 * d / 8) + gpu.all_gather(4 * d / 8)
    assert seconds(plan) == exactly(compute + loss + gradient)
    assert kinds(program, plan) == {"all_reduce": 3, "reduce_scatter": 1, "all_gather": 1}
    assert gradient < across(32).all_reduce(4 * d)


# --- 2: two products, their gradient ---


def by_columns_then_rows(t: float, i: float, h: float, o: float) -> float:
    """Compute of the perceptron on blocks of these sizes."""
    forward = product(t, h, over=i) + fused(t * h, 8 * t * h) + product(t, o, over=h)
    back = product(t, h, over=o) + fused(t * h, 12 * t * h) + product(h, o, over=t)
    return forward + back + product(i, h, over=t) + product(t, i, over=h) + work(2 * t * o, 8 * t * o + 4)


WIDTHS = (2048, 8192, 1024)


def tensor_parallel(t: int) -> float:
    """h over the devices: y [t, o] is added up on the way forward, the gradient of x [t, i] on the way back."""
    i, h, o = WIDTHS
    return by_columns_then_rows(t, i, h / 8, o) + ROW.all_reduce(4 * t * o) + ROW.all_reduce(4 * t * i)


def data_parallel(t: int) -> float:
    """t over the devices: the gradients of A and B are added up, and the loss."""
    i, h, o = WIDTHS
    sums = ROW.all_reduce(4 * i * h) + ROW.all_reduce(4 * h * o) + ROW.all_reduce(4)
    return by_columns_then_rows(t / 8, i, h, o) + sums


def test_two_products_on_few_rows_split_the_hidden_dim_and_add_up_once_each_way():
    program = perceptron(512, *WIDTHS)
    plan = plan_of(program, "row=8")
    assert seconds(plan) == exactly(tensor_parallel(512))
    assert {v: plan.layouts[v] for v in "xAB"} == {
        "x": Layout.of(),
        "A": Layout.of({"h": "row"}),
        "B": Layout.of({"h": "row"}),
    }
    assert {(c.kind, c.bytes): k for c, k in plan.collectives(program).items()} == {
        ("all_reduce", 4 * 512 * 1024): 1,
        ("all_reduce", 4 * 512 * 2048): 1,
    }


def test_two_products_flip_to_data_parallel_where_the_closed_forms_cross():
    flip = crossing(lambda k: tensor_parallel(8 * k), lambda k: data_parallel(8 * k), 64, 8192)
    for k, best, split in ((flip, tensor_parallel, {}), (flip + 1, data_parallel, {"t": "row"})):
        program = perceptron(8 * k, *WIDTHS)
        plan = plan_of(program, "row=8")
        assert seconds(plan) == exactly(best(8 * k))
        assert plan.layouts["x"] == Layout.of(split)


# --- 8: axes of unlike speed ---


def mixed(t: int, model, rows, parts: tuple[int, int]) -> float:
    """h over the devices of `model`, t over those of `rows`; `parts` says how many."""
    i, h, o = WIDTHS
    p, q = parts
    activations = model.all_reduce(4 * t / q * o) + model.all_reduce(4 * t / q * i)
    weights = rows.all_reduce(4 * i * h / p) + rows.all_reduce(4 * h / p * o) + rows.all_reduce(4)
    return by_columns_then_rows(t / q, i, h / p, o) + activations + weights


def test_the_fast_axis_takes_the_activations_and_the_slow_one_the_gradients():
    t = 32_768
    program = perceptron(t, *WIDTHS)
    plan = plan_of(program, "node=4,gpu=8")
    assert plan.layouts["x"] == Layout.of({"t": "node"}) and plan.layouts["A"] == Layout.of({"h": "gpu"})
    best = mixed(t, inside(8), across(4), (8, 4))
    assert seconds(plan) == exactly(best)
    hidden = [v for n in program.nodes for v in n.results if v.dims == ("t", "h")]
    swapped = plan_of(program, "node=4,gpu=8", pins=["x:t=gpu", *(f"{v.name}:t=gpu,h=node" for v in hidden)])
    worse = mixed(t, across(4), inside(8), (4, 8))
    assert seconds(swapped) == exactly(worse)
    assert seconds(swapped) / seconds(plan) == exactly(worse / best) and worse > 1.1 * best


# --- 3: a contracted dim that is split ---


@pytest.mark.parametrize("count", [1, 2, 5])
def test_products_that_are_added_are_reduced_once_and_not_one_by_one(count):
    n, i, o = 4096, 16_384, 2048
    program = partial_sums(n, i, o, count)
    plan = plan_of(
        program, "row=8", fixed={"y": Layout.of(), **{f"A{k}": Layout.of({"i": "row"}) for k in range(count)}}
    )
    compute = count * product(n, o, over=i / 8) + (count - 1) * fused(n * o, 12 * n * o)
    assert seconds(plan) == exactly(compute + ROW.all_reduce(4 * n * o))
    assert kinds(program, plan) == {"all_reduce": 1}


@pytest.mark.parametrize("count", [1, 3])
def test_the_consumer_decides_between_all_reduce_and_reduce_scatter(count):
    n, i, o = 2048, 16_384, 2048
    program = partial_sums(n, i, o, count)
    inputs = {f"A{k}": Layout.of({"i": "row"}) for k in range(count)}
    plan = plan_of(program, "row=8", fixed={"y": Layout.of({"o": "row"}), **inputs})
    compute = count * product(n, o, over=i / 8) + (count - 1) * fused(n * o, 12 * n * o)
    assert seconds(plan) == exactly(compute + ROW.reduce_scatter(4 * n * o))
    assert kinds(program, plan) == {"reduce_scatter": 1}


# --- 9: a hierarchical model ---


@pytest.mark.parametrize("mesh", ["row=8", "node=4,gpu=8"])
def test_a_hierarchical_model_splits_its_latents_and_adds_up_the_gradient_of_what_they_share(mesh):
    """log p = -½ Σ_g |z_g - θ|² - ½ Σ_g |y_g - z_g|²: sums of |θ| and of log p, whatever the latents."""
    galaxies, d = 64_000_000, 10
    program = pooled(galaxies, d)
    plan = plan_of(program, mesh)
    axes, parts = plan.mesh.names, plan.mesh.devices
    assert plan.layouts["z"] == plan.layouts["y"] == Layout.of({"g": axes})
    assert plan.layouts["theta"] == Layout.of()
    m = galaxies // parts * d
    subtract, squares, add = fused(m, 4 * (2 * m + d)), work(2 * m, 8 * m + 4), fused(m, 12 * m)
    toward = work(m, 4 * (m + d))
    compute = subtract + add + 2 * squares + add + toward + fused(1, 12)
    reduce = lambda size: sum(g.all_reduce(size) for g in ([ROW] if parts == 8 else [inside(8), across(4)]))  # noqa: E731
    assert seconds(plan) == exactly(compute + reduce(4) + reduce(4 * d))
    assert kinds(program, plan) == {"all_reduce": 2 * len(axes)}
    assert {c.bytes for c in plan.collectives(program)} == {4, 4 * d}


# --- 7: weights that fit, and weights that do not ---


def test_weights_are_held_by_all_as_long_as_they_fit_and_then_gathered_before_use():
    """Held by all: one all-reduce of the gradient. Split: one all-gather and one reduce-scatter, as many bytes.

    The budget at which they change over is what the first plan needs, to the byte. Few activations, so that the weights
    make the peak; split along the first dim in memory, so that nothing is packed.
    """
    t, i, h = 40_000, 8192, 2048
    program = one_layer(t, i, h)
    rows, split = Layout.of({"t": "row"}), Layout.of({"i": "row"})
    m, size = t // 8, 4 * i * h
    compute = product(m, h, over=i) + fused(m * h, 8 * m * h) + fused(m * h, 12 * m * h) + product(i, h, over=m)
    compute += work(2 * m * h, 8 * m * h + 4) + ROW.all_reduce(4)
    held = plan_of(program, "row=8", fixed={"x": rows, "A": Layout.of()})
    assert seconds(held) == exactly(compute + ROW.all_reduce(size))
    gathered = plan_of(program, "row=8", fixed={"x": rows, "A": split})
    assert seconds(gathered) == exactly(compute + ROW.all_gather(size / 8) + ROW.reduce_scatter(size))
    assert gathered.prediction.peak_bytes < held.prediction.peak_bytes
    crossover = held.prediction.peak_bytes
    for budget, best, layout in (
        (0, held, Layout.of()),
        (crossover, held, Layout.of()),
        (crossover - 1, gathered, split),
    ):
        plan = plan_of(program, "row=8", fixed={"x": rows}, memory=budget)
        assert seconds(plan) == exactly(seconds(best))
        assert not budget or plan.prediction.peak_bytes <= budget
        assert bool(plan.layouts["A"].splits) == bool(layout.splits)
