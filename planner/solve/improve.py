"""Better choices from a given one, at the true price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .network import Network, Star, Use

Touching = list[list[tuple[Star, Use | None]]]


def improve(network: Network, states: np.ndarray, rounds: int = 20, held: Sequence[int] = ()) -> np.ndarray:
    """Better states one variable at a time (not those `held`), at the true price, until none helps."""
    states, touching = states.copy(), network.touching()
    for _ in range(rounds):
        changed = False
        for i, variable in enumerate(network.variables):
            if len(variable.states) == 1 or i in held:
                continue
            cost = _costs(network, touching, i, states)
            best = int(cost.argmin())
            if cost[best] + 1e-15 * abs(cost[best]) < cost[states[i]]:  # both are infinite where nothing is allowed
                states[i], changed = best, True
        if not changed:
            break
    return states


def neighbours(network: Network, states: np.ndarray) -> Iterator[float]:
    """The prices of all choices that differ in one variable."""
    whole, touching = network.cost(states), network.touching()
    for i in range(len(network.variables)):
        cost = _costs(network, touching, i, states)
        yield from np.delete(whole - cost[states[i]] + cost, states[i]).tolist()


def _costs(network: Network, touching: Touching, i: int, states: np.ndarray) -> np.ndarray:
    """What each state of one variable costs, the others as they are."""
    cost = network.variables[i].cost.copy()
    for star, use in touching[i]:
        cost += _star_costs(star, use, states)
    return cost


def _star_costs(star: Star, use: Use | None, states: np.ndarray) -> np.ndarray:
    if use is None:
        wanted = sorted(star.wanted(states))
        return star.price[:, wanted].sum(axis=1)[star.labels]
    paid = [w for u in star.uses if u is not use for w in u.wants[u.labels[states[u.variable]]]]
    price = star.price[star.labels[states[star.source]]].copy()
    price[paid] = 0.0
    return use.by_label(price, np.add)[use.labels]
