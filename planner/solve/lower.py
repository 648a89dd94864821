"""A cost network under a memory budget in the pairwise form: sharing of copies becomes variables of its own.

Variables keep their numbers; those added follow, so the first entries of a choice are the network's. For a star:

- what nobody else wants is charged on the pair (source, use), unless it takes bytes;
- a layout that several uses may want is made once: a variable says from which layout of the source it is made, if at
  all, and is charged; a chain of variables says for each interval between the uses' steps whether the copy is not made
  yet, there, or no longer needed;
- a use of such a layout, or of a copy that takes bytes, gets a variable of the pairs (source's layout, use's wants);
- where uses may want nothing, a variable says how long the original must stay.

What is added costs what it must and holds what it must at least, so the cheapest and leanest choice of the pairwise
form is the network's.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .network import Network, Star, Use
from .pairwise import Pairwise

UNMADE, BEFORE, HELD, AFTER = range(4)
"""A shared copy in one interval: never made, not yet made, there, no longer needed."""
NEXT = np.array([[a == b or 0 < a <= b for b in range(4)] for a in range(4)])


def lower(network: Network, memory: float, full: Collection[int], above: float | None = None) -> Pairwise:
    """The network with `memory` bytes at each step; only steps that could hold more (or more than `above`) as rows.

    Copies, what making them takes and originals that outlive `life` count at the `full` steps only. At the others the
    rows leave them out, so that with few full steps this is a relaxation, and a small problem.
    """
    limit = memory if above is None else above
    own = np.flatnonzero(most_owned(network) > limit)
    own, every = own[~np.isin(own, list(full))], np.array(sorted(full), int)
    cost = [v.cost for v in network.variables]
    form = Pairwise.of(cost, [[] for _ in cost], np.full(len(own) + len(every), memory))
    steps = np.arange(steps_of(network) + 1)
    lowering = _Lowering(form, np.searchsorted(own, steps), len(own) + np.searchsorted(every, steps))
    for star in network.stars:
        lowering.star(star)
    return form


def steps_of(network: Network) -> int:
    ends = [s.life[1] for s in network.stars] + [u.time[1] for s in network.stars for u in s.uses]
    return 1 + max(ends, default=0)


def most_owned(network: Network) -> np.ndarray:
    """By step, no fewer bytes than the originals of any choice hold within their `life`."""
    held = np.zeros(steps_of(network))
    for star in network.stars:
        if star.stored:
            held[star.life[0] : star.life[1] + 1] += star.bytes[star.labels].max()
    return held


@dataclass
class _Lowering:
    form: Pairwise
    own: np.ndarray
    """By step, the first of the rows of originals that is not before it."""
    row: np.ndarray
    """By step, the first of the full rows that is not before it."""

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """The full rows of the steps from first to last, half open."""
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
            first, last = star.life
            self.hold(star.source, (int(self.own[first]), int(self.own[last + 1])), star.bytes[star.labels])
            self.hold(star.source, self.rows(first, last), star.bytes[star.labels])
            self._stay(star)
        users: dict[int, list[Use]] = {}
        for use in star.uses:
            for w in {w for label in use.wants for w in label}:
                users.setdefault(w, []).append(use)
        starts = sorted(set(star.labels.tolist()))
        shared = {
            w: self._shared(star, starts, w, users[w]) for w in sorted(users) if self._counts(star, starts, w, users[w])
        }
        for use in star.uses:
            self._use(star, starts, use, shared)

    def _counts(self, star: Star, starts: list[int], w: int, uses: list[Use]) -> bool:
        """Whether it matters that several uses share a copy: it costs something, or takes bytes for a while."""
        if len(uses) < 2 or starts == [w]:
            return False
        spans = [self.rows(*use.time) for use in uses]
        return bool(star.price[starts, w].any()) or min(spans)[0] < max(end for _, end in spans)

    def _use(self, star: Star, starts: list[int], use: Use, shared: dict[int, _Copy]) -> None:
        """Charges what a use alone wants, and holds the bytes of its copies and of their making."""
        during, making = self.rows(*use.time), self.rows(use.time[0], use.time[0])
        price = np.zeros((len(starts), len(use.wants)))
        own, extra = price.copy(), price.copy()
        for (i, p), (q, label) in itertools.product(enumerate(starts), enumerate(use.wants)):
            alone = [w for w in label if w not in shared and w != p]
            price[i, q] = np.inf if np.isinf(star.price[p, list(label)]).any() else star.price[p, alone].sum()
            own[i, q] = star.bytes[alone].sum()
            extra[i, q] = sum(star.scratch[p, w] for w in label if w != p)
        at = np.searchsorted(starts, star.labels)
        has = {w: np.array([w in label for label in use.wants]) for w in shared}
        own_matters = during[0] < during[1] and own[np.isfinite(price)].any()
        extra_matters = making[0] < making[1] and extra[np.isfinite(price)].any()
        if not (own_matters or extra_matters or any(wants.any() for wants in has.values())):
            if price.any():
                self.form.join(star.source, use.variable, price[at][:, use.labels])
            return
        i, q = np.nonzero(np.isfinite(price))
        joint = self.variable(len(i))
        self.form.cost[joint] = price[i, q]
        self.hold(joint, during, own[i, q])
        self.hold(joint, making, extra[i, q])
        self.form.join(star.source, joint, _only(at[:, None] == i))
        self.form.join(use.variable, joint, _only(use.labels[:, None] == q))
        for w, copy in shared.items():
            needs = has[w][q] & (np.array(starts)[i] != w)
            if needs.any():
                made = np.array(copy.made)
                self.form.join(joint, copy.variable, _only(~needs[:, None] | (np.array(starts)[i][:, None] == made)))
                copy.bar(self.form, joint, needs, self.rows(*use.time))

    def _shared(self, star: Star, starts: list[int], w: int, uses: list[Use]) -> _Copy:
        """A copy that several uses may want: from which layout it is made, and a chain of intervals."""
        made = [-1, *(p for p in starts if p != w and np.isfinite(star.price[p, w]))]
        variable = self.variable(len(made))
        self.form.cost[variable][1:] = star.price[made[1:], w]
        of = np.array(made)
        self.form.join(star.source, variable, _only((of == -1) | (star.labels[:, None] == of)))
        ends = sorted({row for use in uses for row in self.rows(*use.time)})
        chain = [self.variable(4) for _ in ends[1:]]
        held = np.zeros(4)
        held[HELD] = star.bytes[w]
        for z, rows in zip(chain, pairwise(ends), strict=True):
            self.hold(z, rows, held)
        for z, then in pairwise(chain):
            self.form.join(z, then, _only(NEXT))
        if chain:
            self.form.join(variable, chain[0], _only((of == -1)[:, None] == (np.arange(4) == UNMADE)))
        return _Copy(variable, made, ends, chain)

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


@dataclass
class _Copy:
    """The variables of a shared copy."""

    variable: int
    made: list[int]
    """By state, the layout that it is made from; -1 where it is not made."""
    ends: list[int]
    """The rows between which the chain's intervals lie."""
    chain: list[int]

    def bar(self, form: Pairwise, joint: int, needs: np.ndarray, rows: tuple[int, int]) -> None:
        """It must be made by the first of a use's rows, and kept to the last."""
        first, last = self.ends.index(rows[0]), self.ends.index(rows[1]) - 1
        if first < len(self.chain):
            form.join(joint, self.chain[first], _only(~(needs[:, None] & (np.arange(4) <= BEFORE))))
        if last >= 0:
            form.join(joint, self.chain[last], _only(~(needs[:, None] & np.isin(np.arange(4), (UNMADE, AFTER)))))


def _only(allowed: np.ndarray) -> np.ndarray:
    """Costs of nothing where allowed, infinite elsewhere."""
    return np.where(allowed, 0.0, np.inf)
