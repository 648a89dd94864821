"""A proven lower bound on every state, by dual ascent: with it almost all states are struck off before the search.

Each star is relaxed to pairs (source, use): every use is charged its share of each reshard, and the shares of one
reshard add up to its price, so the relaxed price never exceeds the true one. The relaxed problem is pairwise, and its
dual is raised by passing messages (TRW-S: V. Kolmogorov, IEEE PAMI 28, 1568, 2006): cost is moved between variables
and pairs without changing any total, until the sum of the separate minima, which is the bound, stops growing. Between
sweeps shares that a pair does not need go to the uses that need them. A state whose own bound exceeds the price of a
choice already found is in no better choice: it is struck off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .network import Network, Star, Use


class _Labels:
    """The minimum over the states that carry each label."""

    def __init__(self, labels: np.ndarray, count: int):
        self.labels, self.count = labels, count
        self.order = np.argsort(labels, kind="stable")
        self.starts = np.searchsorted(labels[self.order], np.arange(count))
        self.one_to_one = len(labels) == count and bool((labels == np.arange(count)).all())

    def least(self, cost: np.ndarray) -> np.ndarray:
        return cost if self.one_to_one else np.minimum.reduceat(cost[self.order], self.starts)


@dataclass
class _Pair:
    """One (source, use) of a star: its share of the prices, and what the messages have moved to the two variables."""

    star: int
    ends: tuple[int, int]
    labels: tuple[_Labels, _Labels]
    sets: list[tuple[int, ...]]
    share: np.ndarray
    """[source label, layout]: the charge for each wanted layout."""
    charge: np.ndarray
    """[source label, use label]: the same by the use's labels."""
    moved: tuple[np.ndarray, np.ndarray]

    def reduced(self) -> np.ndarray:
        return self.charge - self.moved[0][:, None] - self.moved[1][None, :]


class Dual:
    """Messages and bounds for one network."""

    def __init__(self, network: Network, big: float):
        self.network = network
        self.theta = [v.cost.copy() for v in network.variables]
        self.pairs: list[_Pair] = []
        self.groups: list[list[_Pair]] = []
        self.prices: list[np.ndarray] = []
        for s, star in enumerate(network.stars):
            self._relax(s, star, big)
        self.touch: list[list[tuple[_Pair, int]]] = [[] for _ in network.variables]
        for pair in self.pairs:
            for end in (0, 1):
                self.touch[pair.ends[end]].append((pair, end))

    def _relax(self, index: int, star: Star, big: float) -> None:
        starts, labels = np.unique(star.labels, return_inverse=True)
        price = np.minimum(star.price[starts], big)
        charged = [u for u in star.uses if _is_charged(u, price)]
        source = _Labels(labels, len(starts))
        group = []
        for use in charged:
            pair = _Pair(
                index,
                (star.source, use.variable),
                (source, _Labels(use.labels, len(use.wants))),
                use.wants,
                price / len(charged),
                np.zeros(0),
                (np.zeros(len(starts)), np.zeros(len(use.wants))),
            )
            pair.charge = _charge(pair)
            group.append(pair)
        self.pairs += group
        if len(group) > 1:
            self.groups.append(group)
            self.prices.append(price)

    def _pull(self, i: int) -> None:
        """Moves all that the pairs of a variable surely cost, for each of its states, to the variable."""
        for pair, end in self.touch[i]:
            least = pair.reduced().min(axis=1 - end)
            pair.moved[end][:] += least
            self.theta[i] += least[pair.labels[end].labels]

    def sweep(self, forward: bool) -> np.ndarray:
        """One pass over all variables in order, or in reverse; gives the choice read off on the way."""
        count = len(self.theta)
        chosen = np.full(count, -1)
        for i in range(count) if forward else range(count - 1, -1, -1):
            self._pull(i)
            self._choose(i, chosen)
            later = [(p, e) for p, e in self.touch[i] if (p.ends[1 - e] > i) == forward]
            if not later:
                continue
            part = self.theta[i] / max(len(later), len(self.touch[i]) - len(later))
            for pair, end in later:
                given = pair.labels[end].least(part)
                pair.moved[end][:] -= given
                self.theta[i] -= given[pair.labels[end].labels]
        return chosen

    def _choose(self, i: int, chosen: np.ndarray) -> None:
        cost = self.theta[i].copy()
        for pair, end in self.touch[i]:
            other = chosen[pair.ends[1 - end]]
            if other >= 0:
                label = pair.labels[1 - end].labels[other]
                given = pair.reduced().take(label, axis=1 - end)
                cost += given[pair.labels[end].labels]
        chosen[i] = int(cost.argmin())

    def reshare(self) -> None:
        """Hands the shares that a pair has in excess to the pairs of its star that are tight there."""
        for group, price in zip(self.groups, self.prices, strict=True):
            if any(len(s) != 1 for pair in group for s in pair.sets):
                continue
            slack, total = [], price.copy()
            for pair in group:
                self._pull_pair(pair)
                columns = [s[0] for s in pair.sets]
                excess = np.full_like(pair.share, np.inf)
                excess[:, columns] = np.maximum(pair.reduced(), 0.0)
                excess = np.minimum(excess, pair.share)
                pair.share = pair.share - excess
                total -= pair.share
                slack.append(excess)
            tight = np.array([e <= 1e-9 * price for e in slack])
            needy = np.where(tight.any(axis=0), tight, True)
            extra = np.maximum(total, 0.0) / needy.sum(axis=0)
            for pair, mask in zip(group, needy, strict=True):
                pair.share = pair.share + np.where(mask, extra, 0.0)
                pair.charge = _charge(pair)

    def _pull_pair(self, pair: _Pair) -> None:
        for end in (0, 1):
            least = pair.reduced().min(axis=1 - end)
            pair.moved[end][:] += least
            self.theta[pair.ends[end]] += least[pair.labels[end].labels]

    def state_bounds(self) -> tuple[list[np.ndarray], float]:
        """For each variable and state a lower bound on the price of every choice with that state; and one for all."""
        found = []
        for i in range(len(self.theta)):
            self._pull(i)
            found.append(self.theta[i].copy())
        # pulling leaves every pair at a minimum of zero or more, and only lowers it again through other variables
        floor = sum(min(0.0, float(p.reduced().min())) for p in self.pairs)
        least = [float(t.min()) for t in self.theta]
        total = sum(least) + floor
        return [total - low + theta for low, theta in zip(least, self.theta, strict=True)], total


def _charge(pair: _Pair) -> np.ndarray:
    if all(len(s) == 1 for s in pair.sets):
        return pair.share[:, [s[0] for s in pair.sets]]
    return np.stack([pair.share[:, list(s)].sum(axis=1) for s in pair.sets], axis=1)


def _is_charged(use: Use, price: np.ndarray) -> bool:
    """Whether any layout that the use may want can cost anything."""
    return bool(price[:, sorted({w for label in use.wants for w in label})].any())


def improve(network: Network, states: np.ndarray, rounds: int = 20) -> np.ndarray:
    """Better states one variable at a time, at the true price, until none helps."""
    states, touching = states.copy(), network.touching()
    for _ in range(rounds):
        changed = False
        for i, variable in enumerate(network.variables):
            if len(variable.states) == 1:
                continue
            cost = variable.cost.copy()
            for star, use in touching[i]:
                cost += _star_costs(star, use, i, states)
            best = int(cost.argmin())
            if cost[best] + 1e-15 * abs(cost[best]) < cost[states[i]]:  # both are infinite where nothing is allowed
                states[i], changed = best, True
        if not changed:
            break
    return states


def _star_costs(star: Star, use: Use | None, i: int, states: np.ndarray) -> np.ndarray:
    """What a star costs for each state of one of its variables, the others as they are."""
    if use is None:
        wanted = sorted(star.wanted(states))
        return star.price[star.labels][:, wanted].sum(axis=1)
    start = int(star.labels[states[star.source]])
    others = {w for u in star.uses if u is not use for w in u.wants[u.labels[states[u.variable]]]}
    extra = [sum(star.price[start, w] for w in label if w not in others) for label in use.wants]
    return np.array(extra)[use.labels]
