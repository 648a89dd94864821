"""Folding chains changes no price: held to enumeration on random networks, and to what it is for on a long chain."""

import numpy as np
from hypothesis import given, settings

from planner.solve.fold import fold_chains
from planner.solve.network import Network, Star, Use, Variable
from tests.examples import examples
from tests.planner.networks import TYPE, choices, networks


@settings(max_examples=examples(200))
@given(networks())
def test_the_folded_network_costs_what_the_whole_one_costs_at_its_best(network):
    folded = fold_chains(network)
    gone = {f.variable for f in folded.folds}
    best: dict[tuple[int, ...], float] = {}
    for cost, states in choices(network):
        left = tuple(0 if i in gone else s for i, s in enumerate(states))
        best.setdefault(left, cost)  # the cheapest comes first
    for cost, states in choices(folded.network):
        assert np.isclose(cost, best.pop(states), rtol=1e-12)
        whole = folded.unfold(np.array(states))
        assert np.isclose(network.cost(whole), cost, rtol=1e-12)
        assert all(whole[i] == s for i, s in enumerate(states) if i not in gone)
    assert not best, "a choice that is possible has become impossible"


def test_a_chain_between_two_choices_becomes_one_star_and_an_end_becomes_a_cost():
    rng = np.random.default_rng(5)
    sizes = (3, 4, 5, 6, 2, 7)
    variables = [Variable(f"v{i}", list(range(n)), rng.random(n), np.zeros(n)) for i, n in enumerate(sizes)]

    def star(source: int, *users: int) -> Star:
        n = sizes[source]
        uses = [Use(u, np.arange(sizes[u]), [(n + s,) for s in range(sizes[u])]) for u in users]
        price = rng.random((n, n + max(sizes[u] for u in users)))
        return Star(type("V", (), {"type": TYPE})(), source, np.arange(n), [], price, np.zeros_like(price), uses)

    # v0 and v3 share what v0 leaves, so they stay, and v4 with them; v1 and v2 lie between, v5 is an end
    network = Network(variables, [star(0, 1), star(1, 2), star(2, 3), star(0, 3, 4), star(4, 5)])
    folded = fold_chains(network)
    assert {f.variable for f in folded.folds} == {1, 2, 5}
    assert sorted((s.source, *(u.variable for u in s.uses)) for s in folded.network.stars) == [(0, 3), (0, 3, 4)]
    cost, states = choices(network)[0]
    assert np.isclose(cost, choices(folded.network)[0][0], rtol=1e-12)
    assert tuple(folded.unfold(np.array(choices(folded.network)[0][1]))) == states
