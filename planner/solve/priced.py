"""A network whose bytes have a price: the first thing to try where the best choice does not fit.

A byte that is held at a step that overflows costs something, so the priced network is a network as before and is solved
as before. For every price its minimum, less what the whole memory costs, is a proven bound of all
choices that fit; and sooner or later, as the price is raised, its best choice does fit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .network import Network, Star, Use, Variable
from .search import Found, solve, strike_off

IDLE = 4
"""Answers in a row that are neither leaner nor prove more, after which the leanest choice is no longer looked for."""
TRIES = 16
"""Prices that are tried at most."""


@dataclass
class Priced:
    """What prices have shown: a choice that fits, if one was found, a bound, and the network that proves it."""

    best: np.ndarray | None
    bound: float
    network: Network | None = None
    offset: float = 0.0
    """What the whole memory costs at the prices of `network`."""
    steps: tuple[int, ...] = ()
    """The steps at which bytes had a price in the end."""

    def below(self, limit: float) -> list[np.ndarray] | None:
        """For each variable the states that choices below the limit may have; None where nothing is struck off."""
        if self.network is None or not np.isfinite(limit):
            return None
        return strike_off(self.network, limit + self.offset, all_below=True)[1]


def price_memory(
    network: Network, memory: float, free: Found, held: np.ndarray, profile, deadline: float, axes: Sequence[str]
) -> Priced:
    """Raises the price of a byte until a choice fits, and lowers it again while one does."""
    found, states = Priced(None, free.bound), free.states
    steps: set[int] = set()
    low, price, cost = 0.0, 0.0, np.inf
    for _ in range(TRIES):
        if held.max() <= memory:
            if (here := network.cost(states)) < cost:
                found.best, cost = states, here
            if price - low < 0.1 * price:
                break
            price = (low + price) / 2
        else:
            steps.add(int(held.argmax()))
            low = price
            price = 2 * price if found.best is None else price * 1.1
            price = price or 0.05 * max(free.cost, 1e-9) / float(held.max() - memory)
        if time.monotonic() > deadline:
            break
        at = np.array(sorted(steps))
        charged = charge(network, at, price)
        answer = solve(charged, max(deadline - time.monotonic(), 0.1), axes=axes)
        if answer is None:
            break
        offset = price * memory * len(at)
        if answer.bound - offset > found.bound or found.network is None:
            found.bound = max(found.bound, answer.bound - offset)
            found.network, found.offset = charged, offset
        states = answer.states
        held = profile(network, states)
    found.steps = tuple(sorted(steps))
    return found


@dataclass
class Lean:
    """The leanest choice that was found, its peak, and a proven bound on all peaks [bytes]."""

    states: np.ndarray | None
    peak: float
    bound: float


def lean(network: Network, memory: float, steps: Sequence[int], profile, deadline: float) -> Lean:
    """Bytes alone, at some steps together, minimised again and again, each time with the last answer's worst step more.

    At its peak a choice holds at least what it holds on average over any steps, so the least average is a bound on all
    peaks. As in fictitious play bound and peak approach each other. Ends where a peak is at most `memory`, or the bound
    is larger.
    """
    variables = [
        Variable(v.name, v.states, np.where(np.isfinite(v.cost), 0.0, np.inf), v.tie) for v in network.variables
    ]
    stars = [replace(s, price=np.where(np.isfinite(s.price), 0.0, np.inf)) for s in network.stars]
    bytes_only, at = Network(variables, stars), list(steps)
    found, idle = Lean(None, np.inf, 0.0), 0
    while idle < IDLE and time.monotonic() < deadline:
        states, bound = None, 0.0
        if at:
            answer = solve(charge(bytes_only, np.array(sorted(at), int), 1.0), max(deadline - time.monotonic(), 0.1))
            if answer is None:
                return Lean(None, np.inf, np.inf)
            states, bound = answer.states, answer.bound / len(at) * (1 - 1e-9)
        states = np.array([int(np.isfinite(v.cost).argmax()) for v in variables]) if states is None else states
        held = profile(network, states)
        idle = 0 if bound > found.bound * (1 + 1e-4) or held.max() < found.peak * (1 - 1e-4) else idle + 1
        if np.isfinite(network.cost(states)) and held.max() < found.peak:
            found.states, found.peak = states, float(held.max())
        found.bound = max(found.bound, bound)
        if found.peak <= max(memory, found.bound * (1 + 1e-9)) or (steps and found.bound > memory):
            break
        at.append(int(held.argmax()))
    return found


def _bar(cost: np.ndarray) -> np.ndarray:
    """Nothing but what excludes."""
    return np.where(np.isfinite(cost), 0.0, np.inf)


def charge(network: Network, steps: np.ndarray, price: float) -> Network:
    """The network with each byte that is held at the given steps at a price.

    An original's bytes are charged to its source, but beyond its `life` to the uses that keep it; a copy's, and those
    of its making, as further stars of the uses that hold it at the step. What a copy holds between its uses is not
    counted.
    """
    cost = [v.cost.copy() for v in network.variables]
    stars = list(network.stars)
    for star in network.stars:
        live = int(((steps >= star.life[0]) & (steps <= star.life[1])).sum())
        if star.stored and live:
            cost[star.source] += price * live * star.bytes[star.labels]
        stars += _kept(star, steps, price)
        copies = price * star.bytes * (1 - np.eye(len(star.layouts)))
        making = price * np.where(np.isfinite(star.scratch), star.scratch, 0.0) * (1 - np.eye(len(star.layouts)))
        for t in steps.tolist():
            held = [use for use in star.uses if use.time[0] <= t <= use.time[1]]
            if held:
                stars.append(_further(star, held, copies))
            stars += [_further(star, [use], making) for use in held if use.time[0] == t and making.any()]
    variables = [Variable(v.name, v.states, c, v.tie) for v, c in zip(network.variables, cost, strict=True)]
    return Network(variables, stars)


def _kept(star: Star, steps: np.ndarray, price: float) -> list[Star]:
    """What an original that outlives its `life` is charged: a star that whoever still wants anything pays for once."""
    late = steps[steps > star.life[1]].tolist() if star.stored else []
    times: dict[tuple[int, ...], int] = {}
    for t in late:
        users = tuple(n for n, use in enumerate(star.uses) if use.time[1] >= t)
        times[users] = times.get(users, 0) + 1
    found = []
    for users, count in times.items():
        uses = [replace(star.uses[n], wants=[(0,) if label else () for label in star.uses[n].wants]) for n in users]
        held = np.zeros_like(star.price)
        held[:, 0] = count * price * star.bytes
        found += [_further(star, uses, held)] if uses else []
    return found


def _further(star: Star, uses: list[Use], price: np.ndarray) -> Star:
    return replace(star, price=price, ties=np.zeros_like(price), uses=uses, stored=False)
