"""The planning problem as a cost network: variables with a few states each, and stars between them.

Every node, program input, region input and free output is a *variable*; its states are the node's strategies or the
layouts that the input or output may have. Every value is a *star*: one variable gives it a layout (its source), others
want it in layouts of theirs (its uses), and each distinct wanted layout costs one reshard from the source's layout,
however many uses want it. The price of a choice of states is the sum over variables and stars: nothing else.

    min over x   Σ_v cost_v(x_v)  +  Σ_stars Σ_{w wanted by some use} reshard(layout of the source, w)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ir.graph import Value
from ir.layout import Layout


def distinct(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels that occur, sorted, and for each entry which of them it is: `np.unique` for small numbers."""
    here = np.bincount(labels) > 0
    return here.nonzero()[0], (here.cumsum() - 1)[labels]


def shared(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function, worked out once for the same objects: values that are alike have one price and one set of labels.

    What it gives for them is one object too, so that what follows from it can be shared again.
    """
    known: dict[tuple[int, ...], tuple[Any, tuple[Any, ...]]] = {}

    def found(*objects: Any) -> Any:
        key = tuple(map(id, objects))
        if key not in known:
            known[key] = f(*objects), objects  # while they are held here no others have their identities
        return known[key][0]

    return found


def singles(wants: Sequence[tuple[int, ...]]) -> np.ndarray | None:
    """By label, the one layout that it wants; None where some want another number."""
    return np.array([w for (w,) in wants], int) if all([len(label) == 1 for label in wants]) else None


def by_label(wants: Sequence[tuple[int, ...]], of_layout: np.ndarray, combine: np.ufunc) -> np.ndarray:
    """[…, label] from […, layout]: what the layouts that a label wants have, combined."""
    if (single := singles(wants)) is not None:
        return of_layout[..., single]
    return np.stack([combine.reduce(of_layout[..., list(label)], axis=-1) for label in wants], axis=-1)


def membership(layouts: Sequence[int], labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """[layout, label] whether the label, which wants none but these layouts, wants it."""
    place, found = {w: i for i, w in enumerate(layouts)}, np.zeros((len(layouts), len(labels)), bool)
    found[[place[w] for label in labels for w in label], [k for k, label in enumerate(labels) for _ in label]] = True
    return found


@dataclass
class Variable:
    """A choice to make. `states` are what the plan takes (strategies' candidates or layouts)."""

    name: str
    states: list[Any]
    cost: np.ndarray
    tie: np.ndarray
    """What breaks ties between states of equal cost, smaller first."""


@dataclass
class Use:
    """One variable that wants a star's value: for each of its states a label, and for each label the layouts wanted."""

    variable: int
    labels: np.ndarray
    wants: list[tuple[int, ...]]
    """By label, indices into the star's `layouts`; more than one where a node takes a value twice, differently."""
    time: tuple[int, int] = (0, 0)
    """The first and last step of the schedule at which it needs its copy."""

    @cached_property
    def _singles(self) -> np.ndarray | None:
        return singles(self.wants)

    def by_label(self, of_layout: np.ndarray, combine: np.ufunc) -> np.ndarray:
        """[…, label] from […, layout]: what the layouts that a label wants have, combined."""
        if self._singles is not None:
            return of_layout[..., self._singles]
        return by_label(self.wants, of_layout, combine)

    def with_states(self, labels: np.ndarray, wants: list[tuple[int, ...]]) -> Use:
        return Use(self.variable, labels, wants, self.time)


@dataclass
class Star:
    """A value between the variable that makes it and those that use it."""

    value: Value
    source: int
    labels: np.ndarray
    """By state of the source, the index of the value's layout in `layouts`."""
    layouts: list[Layout]
    price: np.ndarray
    """[from, to] over `layouts`: seconds of the cheapest reshard, trips included."""
    ties: np.ndarray
    """[from, to] its number of collectives."""
    uses: list[Use] = field(default_factory=list)
    life: tuple[int, int] = (0, 0)
    """The first and last step of the schedule at which the value exists."""
    stored: bool = True
    """Whether it takes memory of its own."""
    bytes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """By layout, the bytes of one block."""
    scratch: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """[from, to] bytes that the reshard holds beyond source and copy."""

    def cost(self, start: int, wanted: Iterable[int]) -> float:
        return float(sum(self.price[start, w] for w in set(wanted)))

    def wanted(self, states: Sequence[int] | np.ndarray) -> set[int]:
        """The layouts wanted under a choice of states."""
        return {w for use in self.uses for w in use.wants[use.labels[states[use.variable]]]}


@dataclass
class Network:
    """Variables and stars."""

    variables: list[Variable]
    stars: list[Star]

    def cost(self, states: Sequence[int] | np.ndarray) -> float:
        """The price of a choice of one state for each variable."""
        nodes = sum(float(v.cost[s]) for v, s in zip(self.variables, states, strict=True))
        return nodes + sum(s.cost(int(s.labels[states[s.source]]), s.wanted(states)) for s in self.stars)

    def touching(self) -> list[list[tuple[Star, Use | None]]]:
        """For each variable its stars: as source (None) or as a use."""
        found: list[list[tuple[Star, Use | None]]] = [[] for _ in self.variables]
        for star in self.stars:
            found[star.source].append((star, None))
            for use in star.uses:
                found[use.variable].append((star, use))
        return found

    def restrict(self, keep: Sequence[np.ndarray]) -> Network:
        """The network with only the kept states (arrays of indices) of each variable."""
        whole = [len(k) == len(v.states) for v, k in zip(self.variables, keep, strict=True)]
        variables = [
            v if all_ else Variable(v.name, [v.states[s] for s in k.tolist()], v.cost[k], v.tie[k])
            for v, k, all_ in zip(self.variables, keep, whole, strict=True)
        ]
        taken, narrowed = shared(lambda labels, k: labels[k]), shared(_narrowed)

        def restricted(star: Star) -> Star:
            if whole[star.source] and all([whole[use.variable] for use in star.uses]):
                return star
            labels = star.labels if whole[star.source] else taken(star.labels, keep[star.source])
            uses = [
                use if whole[use.variable] else use.with_states(*narrowed(use.labels, use.wants, keep[use.variable]))
                for use in star.uses
            ]
            return replace(star, labels=labels, uses=uses)

        return Network(variables, [restricted(star) for star in self.stars])


def _narrowed(
    labels: np.ndarray, wants: list[tuple[int, ...]], keep: np.ndarray
) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """The labels of the kept states, and what those that are left want."""
    found, labels = distinct(labels[keep])
    return labels, [wants[label] for label in found.tolist()]


TIES = 1e-9
"""What all tie-breaks together may weigh, of the sum of the cheapest states."""


def with_ties(network: Network) -> Network:
    """The network whose costs also carry the tie-breaks: fewer collectives first, then `Variable.tie`.

    They weigh no more than `TIES` altogether, so they order equals and nothing else.
    """
    scale = sum(float(v.cost.min()) for v in network.variables) or 1e-6
    most = shared(lambda ties: float(ties.max(initial=0)))
    collectives = sum(most(s.ties) * len(s.uses) for s in network.stars)
    rest = sum(most(v.tie) for v in network.variables)
    per_collective = 0.5 * TIES * scale / max(1.0, collectives)
    per_tie = min(0.5 * TIES * scale / max(1.0, rest), 0.1 * per_collective)
    variables = [Variable(v.name, v.states, v.cost + per_tie * v.tie, v.tie) for v in network.variables]
    priced = shared(lambda price, ties: price + per_collective * ties)
    return Network(variables, [replace(s, price=priced(s.price, s.ties)) for s in network.stars])
