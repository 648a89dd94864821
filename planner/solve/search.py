"""The search: strike off what a bound rules out, finish exactly, and say how it was proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bound import Dual, improve
from .coarse import coarse_states, groupings
from .eliminate import easy, eliminate
from .milp import Model
from .network import Network, with_ties
from .simplify import Impossible, reduce

ROUNDS, SWEEPS = 12, 6
LIMIT, COARSE_LIMIT = 5e6, 3e5
"""The largest table that elimination may make, for the answer and for a first guess: 40 MB and 2.4 MB."""


@dataclass
class Found:
    """A choice of states, its price, a proven lower bound of every price, and the method that proved it."""

    states: np.ndarray
    cost: float
    bound: float
    how: str


def solve(network: Network, seconds: float = 60.0, cutoff: float = np.inf, axes: Sequence[str] = ()) -> Found | None:
    """The cheapest choice of states, proven, unless the time limit is hit: then `how` says so.

    None where it is proved that no choice is cheaper than `cutoff`. `axes` are the mesh axes that may act together.
    """
    priced = with_ties(network)
    known = _solve_coarse(priced, cutoff, axes)
    small, keep, best, bound = strike_off(priced, cutoff, known)
    if bound > cutoff or bound == np.inf:
        return None
    states = eliminate(small, LIMIT)
    if states is not None:
        best, how = among(keep, states), "elimination"
        cost = bound = network.cost(best)
    else:
        answer = Model(small).solve(seconds)
        if answer.states is not None:
            best = min((improve(priced, among(keep, answer.states)), best), key=priced.cost)
        how = "HiGHS" if answer.finished else f"HiGHS, stopped after {seconds:.0f} s"
        cost = network.cost(best)
        bound = min(cost, max(bound, answer.bound))
    return Found(best, cost, bound, how)


def _solve_coarse(network: Network, cutoff: float, axes: Sequence[str]) -> np.ndarray | None:
    """The best choice of the coarse problems, each helped by the ones before; None where there is none."""
    best: np.ndarray | None = None
    for groups in groupings(axes):
        keep = coarse_states(network, groups)
        if keep is None:
            continue
        limit = min(cutoff, network.cost(best)) if best is not None else cutoff
        small, left, seen, bound = strike_off(network.restrict(keep), limit)
        if bound > limit or bound == np.inf:
            continue
        states = eliminate(small, COARSE_LIMIT)
        choice = among(keep, seen if states is None else among(left, states))
        if best is None or network.cost(choice) < network.cost(best):
            best = choice
    return best


def among(keep: list[np.ndarray], states: np.ndarray) -> np.ndarray:
    return np.array([k[s] for k, s in zip(keep, states, strict=True)])


def strike_off(
    network: Network, cutoff: float = np.inf, known: np.ndarray | None = None, all_below: bool = False
) -> tuple[Network, list[np.ndarray], np.ndarray, float]:
    """Removes states that no best choice has: the network left, the states kept, the best choice seen, a bound of all.

    What is kept always holds a choice that is as good as any, unless the bound exceeds the cutoff. With `all_below`
    it holds every choice that is not dearer than the cutoff. `known` is a good choice, if one is known. The bound is
    infinite where no choice is possible at all.
    """
    cheap = np.array([int(v.cost.argmin()) for v in network.variables])
    best = improve(network, cheap if known is None else known)
    price, bound = network.cost(best), -np.inf
    everything = [np.arange(len(v.states)) for v in network.variables]
    try:
        small, keep = reduce(network, everything, not all_below)
    except Impossible:
        return network, everything, best, np.inf
    for _ in range(ROUNDS):
        dual = Dual(small, 10 * price if np.isfinite(price) else 1e6)
        for _ in range(SWEEPS // 2):
            dual.sweep(forward=True)
            dual.reshare()
            dual.sweep(forward=False)
            dual.reshare()
        states = improve(small, dual.sweep(forward=True))
        if (cost := small.cost(states)) < price:
            best, price = among(keep, states), cost
        bounds, bound = dual.state_bounds()
        if bound > cutoff:
            break
        limit = (cutoff if all_below else min(price, cutoff)) * (1 + 1e-12)
        before = sum(map(len, keep))
        try:
            small, left = reduce(small, [np.flatnonzero(b <= limit) for b in bounds], not all_below)
        except Impossible:
            return small, keep, best, np.inf
        keep = [k[i] for k, i in zip(keep, left, strict=True)]
        if sum(map(len, keep)) > 0.98 * before or easy(small):
            break
    return small, keep, best, bound
