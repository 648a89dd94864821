"""The search under a memory budget: held to enumeration on small random problems."""

import itertools

import numpy as np
import pytest

from ir.dims import Dim, TensorType
from ir.graph import Value
from planner.solve.budget import costless, find_fitting, solve_pairwise
from planner.solve.exact import solve_exactly
from planner.solve.lagrange import ascend
from planner.solve.lower import lower, steps_of
from planner.solve.network import Network, Star, Use, Variable
from planner.solve.pairwise import Pairwise
from planner.solve.presolve import Infeasible, Presolve
from planner.solve.within import profile, smallest_memory, solve_within

each_seed = pytest.mark.parametrize("seed", range(40))
SIZES = np.array([9.0, 10.0, 11.0, 70.0, 130.0])


def pairwise_problem(seed: int, alive: bool = False) -> Pairwise:
    """Few variables, some pairs excluded, bytes over random spans, room for a share of the most that can be held."""
    rng = np.random.default_rng(seed)
    count, steps = int(rng.integers(2, 8)), 6
    excluded = rng.choice([0.0, 0.4])
    states = rng.integers(1, 5, count)
    cost = [rng.integers(0, 30, k).astype(float) for k in states]
    held = []
    for k in states:
        spans = [tuple(sorted(rng.integers(0, steps, 2))) for _ in range(rng.integers(0, 3))]
        held.append([(int(a), int(b), rng.choice(SIZES, k)) for a, b in spans])
    form = Pairwise.of(cost, held, np.zeros(steps))
    for i, j in itertools.combinations(range(count), 2):
        if rng.random() < 0.5:
            price = rng.integers(0, 20, (states[i], states[j])).astype(float)
            barred = rng.random(price.shape) < excluded
            barred[:, 0] &= not alive
            barred[0] &= not alive
            price[barred] = np.inf
            form.join(i, j, price)
    some = form.bytes_held([int(rng.integers(k)) for k in states])
    form.room = np.full(steps, float(int(some.max() * rng.choice([0.5, 0.8, 1.0]))))
    return form


def cheapest(form: Pairwise) -> float:
    prices = (form.price(x) for x in itertools.product(*(range(len(c)) for c in form.cost)) if form.fits(x))
    return min(prices, default=np.inf)


@each_seed
def test_the_search_finds_the_cheapest_choice_that_fits(seed):
    form = pairwise_problem(seed)
    best = cheapest(form)
    found = solve_pairwise(form, 60.0)
    assert found.price == pytest.approx(best, rel=1e-9)
    assert found.proven and found.bound == (np.inf if np.isinf(best) else found.price)
    if found.states is not None:
        assert form.fits(found.states) and form.price(found.states) == found.price
        assert solve_pairwise(form, 60.0, cutoff=best - 1.0).states is None


@each_seed
def test_reductions_leave_the_optimum(seed):
    form = pairwise_problem(seed)
    best = cheapest(form)
    pre = Presolve(form)
    try:
        small, order = pre.run().small()
    except Infeasible:
        assert best == np.inf
        return
    answer = solve_exactly(small, 60.0)
    assert answer.bound == pytest.approx(best, rel=1e-6)
    if answer.states is not None:
        whole = pre.lift(order, answer.states)
        assert form.fits(whole) and form.price(whole) == pytest.approx(best, rel=1e-9)


@each_seed
def test_bounds_never_exceed_the_optimum(seed):
    form = pairwise_problem(seed, alive=True)
    ascent = ascend(form, 1e6, 30, np.inf)
    bounds, total = ascent.best.state_bounds()
    assert total == pytest.approx(ascent.bound)
    for x in itertools.product(*(range(len(c)) for c in form.cost)):
        if form.fits(x) and (price := form.price(x)) < np.inf:
            assert total <= price + 1e-6
            assert all(b[s] <= price + 1e-6 for b, s in zip(bounds, x, strict=True))
    if ascent.states is not None:
        assert form.fits(ascent.states) and form.price(ascent.states) == ascent.price


@each_seed
def test_what_cannot_fit_is_found_out_without_costs(seed):
    form = pairwise_problem(seed)
    states, impossible = find_fitting(costless(form), np.inf)
    best = cheapest(form)
    assert not (impossible and best < np.inf)
    if states is not None:
        assert form.fits(states) and form.price(states) < np.inf


def random_network(seed: int) -> Network:
    """Values with several uses that want shared layouts, two at once, or nothing."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 6))
    variables = [
        Variable(f"v{i}", list(range(k)), rng.random(k), np.zeros(k)) for i, k in enumerate(rng.integers(1, 4, count))
    ]
    steps = count + 3
    stars = []
    for source in range(count - 1):
        layouts = int(rng.integers(1, 4))
        price = rng.random((layouts, layouts)) * (1 - np.eye(layouts))
        if layouts > 2 and rng.random() < 0.5:
            price[0, 2] = np.inf
        users = rng.permutation(np.arange(source + 1, count))[: rng.integers(1, 4)]
        uses = []
        for user in sorted(users.tolist()):
            wants = [(), *((w,) for w in range(layouts)), (0, layouts - 1)][int(rng.integers(0, 2)) :]
            wants = [tuple(dict.fromkeys(w)) for w in wants]
            first = int(rng.integers(source + 1, steps))
            time = first, int(rng.integers(first, steps))
            of, labels = np.unique(rng.integers(0, len(wants), len(variables[user].states)), return_inverse=True)
            uses.append(Use(user, labels, [wants[w] for w in of], time))
        last = max(use.time[1] for use in uses) if rng.random() < 0.5 else int(rng.integers(source, source + 2))
        star = Star(
            Value(f"x{source}", TensorType((Dim("i", 9),))),
            source,
            rng.integers(0, layouts, len(variables[source].states)),
            [None] * layouts,  # type: ignore[list-item]
            price,
            np.zeros_like(price),
            uses,
            (source, last),
            bool(rng.random() < 0.8),
            rng.choice(SIZES, layouts),
            rng.choice([0.0, 5.0, 40.0], price.shape) * (1 - np.eye(layouts)),
        )
        stars.append(star)
    return Network(variables, stars)


def choices(network: Network):
    for x in itertools.product(*(range(len(v.states)) for v in network.variables)):
        if (cost := network.cost(x)) < np.inf:
            yield cost, float(profile(network, np.array(x)).max()), x


@each_seed
def test_the_budget_is_met_at_the_least_price(seed):
    network, share = random_network(seed), (0.0, 0.3, 0.7, 1.0)[seed % 4]
    every = list(choices(network))
    if not every:
        return
    peaks = sorted(peak for _, peak, _ in every)
    budget = peaks[int(share * (len(peaks) - 1))]
    for memory in (budget, budget - 1):
        best = min((cost for cost, peak, _ in every if peak <= memory), default=np.inf)
        found = solve_within(network, memory)
        if found is None:
            assert best == np.inf
        else:
            assert found.cost == pytest.approx(best, rel=1e-7)
            assert found.bound == pytest.approx(found.cost)
            assert profile(network, found.states).max() <= memory


@each_seed
def test_the_pairwise_form_has_the_networks_prices_and_peaks(seed):
    network = random_network(seed)
    for cost, peak, x in itertools.islice(choices(network), 12):
        fixed = network.restrict([np.array([s]) for s in x])
        every = range(steps_of(network))
        assert solve_pairwise(lower(fixed, peak, every), 60.0).price == pytest.approx(cost, rel=1e-9, abs=1e-12)
        assert solve_pairwise(lower(fixed, peak - 1, every), 60.0).states is None


@each_seed
def test_the_least_memory_is_the_least_of_all_peaks(seed):
    network = random_network(seed)
    least = min((peak for _, peak, _ in choices(network)), default=np.inf)
    attained, proven = smallest_memory(network)
    if least < np.inf:
        assert attained == least
        assert least * (1 - 1e-6) <= proven <= least


def test_an_original_is_held_for_the_last_use_that_wants_something():
    star = Star(
        Value("x", TensorType((Dim("i", 9),))),
        0,
        np.array([0]),
        [None],  # type: ignore[list-item]
        np.zeros((1, 1)),
        np.zeros((1, 1)),
        [Use(1, np.array([0, 1]), [(), (0,)], (4, 5)), Use(2, np.array([0, 1]), [(0,), ()], (2, 3))],
        (0, 1),
        True,
        np.array([7.0]),
        np.zeros((1, 1)),
    )
    variables = [Variable(f"v{i}", [0, 1][:k], np.zeros(k), np.zeros(k)) for i, k in enumerate((1, 2, 2))]
    network = Network(variables, [star])
    held = {x: profile(network, np.array(x)).tolist() for x in itertools.product([0], [0, 1], [0, 1])}
    assert held[0, 0, 0] == [7, 7, 7, 7, 0, 0]
    assert held[0, 1, 1] == [7, 7, 7, 7, 7, 7]
    assert held[0, 0, 1] == [7, 7, 0, 0, 0, 0]


def test_a_hopeless_budget_is_refused_by_the_bounds_alone():
    rng = np.random.default_rng(1)
    cost = [rng.random(4) for _ in range(60)]
    held = [[(int(a), int(a) + 6, 100.0 * np.arange(1.0, 5.0)[::-1])] for a in rng.integers(0, 20, 60)]
    form = Pairwise.of(cost, held, np.zeros(30))
    for i in range(59):  # neighbours may not both be small
        form.join(i, i + 1, np.where(np.add.outer(np.arange(4), np.arange(4)) > 4, np.inf, rng.random((4, 4))))
    some = form.bytes_held([2] * 60)
    form.room = np.full(30, 0.8 * some.max())
    found = solve_pairwise(form, 60.0)
    assert found.states is None and found.bound == np.inf and found.how == "bounds"
