"""A cost network under a memory budget in the pairwise form: sharing of copies becomes variables of its own.

Variables keep their numbers; those added follow, so the first entries of a choice are the network's. For a star:

- what one use alone wants is charged on the pair (source, use);
- a layout that several uses may want is made once. A chain of variables says for each interval between their steps
  whether the copy does not exist, not yet, now or no more, or whether the source has that layout anyway; the pair
  (source, first of the chain) is charged;
- where the bytes of a use's own copies depend on the source's layout, a variable joins the use's wants with what they
  take;
- where uses may want nothing, a variable says how long the original must stay.

The chain and the stay cost bytes only, so the cheapest and leanest choice of the pairwise form is the network's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .network import Network, Star, Use
from .pairwise import Pairwise

NONE, SAME, BEFORE, HELD, AFTER = range(5)
"""A shared copy in one interval: nobody wants it; the source lies so; not yet made; there; no longer needed."""
NEXT = {(NONE, NONE), (SAME, SAME), *((a, b) for a in (BEFORE, HELD, AFTER) for b in (BEFORE, HELD, AFTER) if a <= b)}


def lower(network: Network, memory: float, above: float | None = None) -> Pairwise:
    """The network with `memory` bytes at each step; only steps that could hold more (or more than `above`) as rows."""
    steps = np.flatnonzero(most_held(network) > (memory if above is None else above))
    form = Pairwise.of(
        [v.cost for v in network.variables], [[] for _ in network.variables], np.full(len(steps), memory)
    )
    lowering = _Lowering(form, np.searchsorted(steps, np.arange(steps_of(network) + 1)))
    for star in network.stars:
        lowering.star(star)
    return form


def steps_of(network: Network) -> int:
    ends = [s.life[1] for s in network.stars] + [u.time[1] for s in network.stars for u in s.uses]
    return 1 + max(ends, default=0)


def most_held(network: Network) -> np.ndarray:
    """By step, no fewer bytes than any choice holds."""
    held = np.zeros(steps_of(network))
    for star in network.stars:
        if star.stored:
            last = max([star.life[1], *(u.time[1] for u in star.uses)])
            held[star.life[0] : last + 1] += star.bytes[star.labels].max()
        spans: dict[int, tuple[int, int]] = {}
        for use in star.uses:
            wanted = sorted({w for label in use.wants for w in label})
            for w in wanted:
                first, last = spans.get(w, use.time)
                spans[w] = min(first, use.time[0]), max(last, use.time[1])
            if wanted:
                most = star.scratch[np.unique(star.labels)][:, wanted].max(axis=0).sum()
                held[use.time[0]] += most if np.isfinite(most) else 0.0
        for w, (first, last) in spans.items():
            held[first : last + 1] += star.bytes[w]
    return held


@dataclass
class _Lowering:
    form: Pairwise
    row: np.ndarray
    """By step, the first row that is not before it."""

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """The rows of the steps from first to last, half open."""
        return int(self.row[first]), int(self.row[last + 1])

    def variable(self, count: int) -> int:
        self.form.cost.append(np.zeros(count))
        self.form.near.append({})
        self.form.held.append([])
        return len(self.form.cost) - 1

    def hold(self, variable: int, rows: tuple[int, int], size: np.ndarray) -> None:
        if rows[0] < rows[1] and size.any():
            self.form.held[variable].append((rows[0], rows[1] - 1, size.astype(float)))

    def star(self, star: Star) -> None:
        if star.stored:
            self.hold(star.source, self.rows(*star.life), star.bytes[star.labels])
            self._stay(star)
        users: dict[int, list[Use]] = {}
        for use in star.uses:
            for w in {w for label in use.wants for w in label}:
                users.setdefault(w, []).append(use)
        shared = {w for w, uses in users.items() if len(uses) > 1}
        for w in sorted(shared):
            self._shared(star, w, users[w])
        for use in star.uses:
            self._use(star, use, shared)

    def _use(self, star: Star, use: Use, shared: set[int]) -> None:
        """Charges what a use alone wants, and holds the bytes of its copies and of their making."""
        alone = [[w for w in label if w not in shared] for label in use.wants]
        price = np.stack([star.price[:, list(label)].sum(axis=1) for label in alone], axis=1)
        barred = np.stack([np.isinf(star.price[:, list(label)]).any(axis=1) for label in use.wants], axis=1)
        price[barred] = np.inf
        pair = price[star.labels][:, use.labels]
        if pair.any():
            self.form.join(star.source, use.variable, pair)
        starts = sorted(set(star.labels.tolist()))
        during, making = self.rows(*use.time), self.rows(use.time[0], use.time[0])
        if during[0] == during[1]:
            return
        kinds: dict[tuple[int, float, float], list[int]] = {}
        """(label of the use, bytes of its own copies, bytes of making its copies) → layouts of the source."""
        for q, label in enumerate(use.wants):
            for p in starts:
                if not barred[p, q]:
                    own = float(sum(star.bytes[w] for w in alone[q] if w != p))
                    extra = float(sum(star.scratch[p, w] for w in label if w != p))
                    kinds.setdefault((q, own, extra if making[0] < making[1] else 0.0), []).append(p)
        if len({q for q, _, _ in kinds}) == len(kinds):
            size = {q: (own, extra) for q, own, extra in kinds}
            own, extra = (np.array([size.get(q, (0.0, 0.0))[k] for q in range(len(use.wants))]) for k in (0, 1))
            self.hold(use.variable, during, own[use.labels])
            self.hold(use.variable, making, extra[use.labels])
            return
        joint = self.variable(len(kinds))
        self.hold(joint, during, np.array([own for _, own, _ in kinds]))
        self.hold(joint, making, np.array([extra for _, _, extra in kinds]))
        label = np.array([q for q, _, _ in kinds])
        self.form.join(use.variable, joint, _only(use.labels[:, None] == label))
        of = np.array([[p in layouts for layouts in kinds.values()] for p in star.labels.tolist()])
        self.form.join(star.source, joint, _only(of))

    def _shared(self, star: Star, w: int, uses: list[Use]) -> None:
        """A copy that several uses may want: one chain of intervals, charged once."""
        spans = [self.rows(*use.time) for use in uses]
        ends = sorted({row for span in spans for row in span})
        chain = [self.variable(5) for _ in range(max(1, len(ends) - 1))]
        held = np.zeros(5)
        held[HELD] = star.bytes[w]
        for z, rows in zip(chain, pairwise(ends), strict=False):
            self.hold(z, rows, held)
        step = np.array([[(a, b) in NEXT for b in range(5)] for a in range(5)])
        for z, then in pairwise(chain):
            self.form.join(z, then, _only(step))
        charge = np.zeros((len(star.labels), 5))
        charge[:, BEFORE:] = star.price[star.labels, w][:, None]
        charge[:, SAME] = np.where(star.labels == w, 0.0, np.inf)
        self.form.join(star.source, chain[0], charge)
        for use, (begin, end) in zip(uses, spans, strict=True):
            wants = np.array([w in label for label in use.wants])[use.labels]
            first, last = ends.index(begin), ends.index(end) - 1
            self._bar(use.variable, chain[0], wants, (NONE,))
            if first < len(ends) - 1:
                self._bar(use.variable, chain[first], wants, (BEFORE,))
            if last >= 0:
                self._bar(use.variable, chain[last], wants, (AFTER,))

    def _bar(self, variable: int, other: int, states: np.ndarray, barred: tuple[int, ...]) -> None:
        """Excludes the marked states together with the barred ones of another variable."""
        price = np.zeros((len(states), 5))
        price[np.outer(states, np.isin(np.arange(5), barred))] = np.inf
        self.form.join(variable, other, price)

    def _stay(self, star: Star) -> None:
        """An original that outlives `life` for the uses after it that want something."""
        late = [use for use in star.uses if use.time[1] > star.life[1]]
        ends = sorted({self.rows(star.life[1] + 1, use.time[1])[1] for use in late})
        begin = int(self.row[star.life[1] + 1]) if late else 0
        ends = [end for end in ends if end > begin]
        if not ends:
            return
        layouts = sorted(set(star.labels.tolist()))
        sizes = sorted({float(star.bytes[p]) for p in layouts})
        kinds = [(-1, 0.0)] + [(e, size) for e in range(len(ends)) for size in sizes]
        stay = self.variable(len(kinds))
        for e, rows in enumerate(pairwise([begin, *ends])):
            self.hold(stay, rows, np.array([size if last >= e else 0.0 for last, size in kinds]))
        fits = np.array([[last < 0 or size == star.bytes[p] for last, size in kinds] for p in star.labels.tolist()])
        self.form.join(star.source, stay, _only(fits))
        for use in late:
            end = self.rows(star.life[1] + 1, use.time[1])[1]
            enough = np.array([end <= begin or (last >= 0 and ends[last] >= end) for last, _ in kinds])
            wants = np.array([bool(label) for label in use.wants])[use.labels]
            self.form.join(use.variable, stay, _only(~wants[:, None] | enough[None, :]))


def _only(allowed: np.ndarray) -> np.ndarray:
    """Costs of nothing where allowed, infinite elsewhere."""
    return np.where(allowed, 0.0, np.inf)
