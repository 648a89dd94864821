"""The search: strike off what a bound rules out, finish exactly, and say how it was proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .bound import Dual
from .coarse import coarse_states, groupings
from .eliminate import LIMIT, Tables, easy, eliminate, minimise
from .fold import fold_chains
from .guess import among, best_of, free_most, near_bounds
from .improve import improve
from .milp import Model
from .network import TIES, Network, distinct, with_ties
from .pairs import Messages
from .simplify import Barred, Impossible, barred_of, reduce

ROUNDS, SWEEPS = 24, 6
"""How often states are struck off, and after how many sweeps."""
LOOKS, CLOSE = 3, 1e-2
"""After so many of the first sweeps it is looked at once whether elimination can finish, which on small networks it
mostly can; not where the price is further than this from the bound."""
TRIES = (0, 1, 2, 4, 7, 12, 20)
"""The rounds in which a better choice is looked for."""
IDLE, WORTH = 4, 0.02
"""After so many rounds that strike off less than this share of the states no more are made."""
EASY, MUCH = 1e4, 2e6
"""How many entries elimination may take: per variable and round, and at the end in any case."""
WORK, FEW = 1e3, 60
"""One pair of states takes HiGHS as long as so many entries take elimination; with so few pairs per variable HiGHS
is asked, since striking off more would take longer."""
PASSES, NEAR = 3, 2e-3
"""How often most variables are chosen anew, and how near the price must be to the bound for that to wait."""


@dataclass
class Found:
    """A choice of states, its price, a proven lower bound of every price, and the method that proved it."""

    states: np.ndarray
    cost: float
    bound: float
    how: str
    proof: list[list[Messages]] = field(default_factory=list, compare=False, repr=False)
    """The messages that struck states off, in order."""


def solve(network: Network, seconds: float = 60.0, cutoff: float = np.inf, axes: Sequence[str] = ()) -> Found | None:
    """The cheapest choice of states, proven, unless the time limit is hit: then `how` says so.

    None where it is proved that no choice is cheaper than `cutoff`. `axes` are the mesh axes that may act together.
    """
    priced = with_ties(network)
    try:
        small, keep = reduce(priced, [np.arange(len(v.states)) for v in priced.variables])
    except Impossible:
        return None
    folded = fold_chains(small)
    left = Striking.of(folded.network, cutoff, axes=axes)
    found = finish(folded.network, folded.network, left, seconds)
    if found is None:
        return None
    states = among(keep, folded.unfold(found.states))
    cost = network.cost(states)
    bound = cost if found.bound == found.cost else min(cost, found.bound * (1 - TIES))
    # what strikes states off a folded network, or leaves the rest to HiGHS, is no proof of the whole one
    proof = left.proof if not folded.folds and found.how == "elimination" else []
    return Found(states, cost, bound, found.how, proof)


def finish(network: Network, priced: Network, left: Striking, seconds: float) -> Found | None:
    """The cheapest of what striking off has left, by elimination or else by HiGHS."""
    if left.bound > left.cutoff or left.bound == np.inf:
        return None
    best = left.best
    if left.solved:
        cost = network.cost(best)
        return Found(best, cost, cost, "elimination", left.proof)
    small, keep = left.network()
    states = eliminate(small, max(MUCH, min(LIMIT, WORK * pair_count(small))))
    if states is not None:
        best, how = among(keep, states), "elimination"
        cost = bound = network.cost(best)
    else:
        answer = Model(small).solve(seconds)
        if answer.states is not None:
            best = min((improve(priced, among(keep, answer.states)), best), key=priced.cost)
        how = "HiGHS" if answer.finished else f"HiGHS, stopped after {seconds:.0f} s"
        cost = network.cost(best)
        bound = min(cost, max(left.bound, answer.bound))
    return Found(best, cost, bound, how, left.proof)


def pair_count(network: Network) -> int:
    """How many pairs (layout of the source, label of a use) there are."""
    return sum(len(distinct(star.labels)[0]) * sum(len(use.wants) for use in star.uses) for star in network.stars)


def strike_off(
    network: Network, cutoff: float = np.inf, known: np.ndarray | None = None, all_below: bool = False
) -> tuple[Network, list[np.ndarray], np.ndarray, float]:
    """Removes states that no best choice has: the network left, the states kept, the best choice seen, a bound of all.

    What is kept always holds a choice that is as good as any, unless the bound exceeds the cutoff. With `all_below`
    it holds every choice that is not dearer than the cutoff. `known` is a good choice, if one is known. The bound is
    infinite where no choice is possible at all.
    """
    left = Striking.of(network, cutoff, known, all_below)
    if left.bound == np.inf:
        return network, left.keep, left.best, np.inf
    return *left.network(), left.best, left.bound


@dataclass
class Striking:
    """The state of the search: what is kept, the best choice seen, what is proved."""

    priced: Network
    cutoff: float
    all_below: bool
    keep: list[np.ndarray]
    best: np.ndarray
    price: float
    bound: float = -np.inf
    dual: Dual | None = None
    proof: list[list[Messages]] = field(default_factory=list)
    barred: list[Barred] | None = None
    settled: tuple[Network, list[np.ndarray]] | None = None
    """The settled network of what is kept, and its states."""
    solved: bool = False
    """Whether elimination has found the best choice."""
    freed: float = np.inf
    """The price that choosing most variables anew did not better."""
    thorough: bool = False
    """Whether to strike off as long as it goes: HiGHS is not there to finish."""
    held: tuple[int, ...] = ()
    """Variables that may not leave the states that are kept of them."""

    @classmethod
    def of(
        cls,
        priced: Network,
        cutoff: float = np.inf,
        known: np.ndarray | None = None,
        all_below: bool = False,
        axes: Sequence[str] = (),
        at_once: bool = True,
    ) -> Striking:
        """Strikes off, unless (`at_once`) elimination or HiGHS do without, or with less of it."""
        known = np.array([int(v.cost.argmin()) for v in priced.variables]) if known is None else known
        everything = [np.arange(len(v.states)) for v in priced.variables]
        thorough = all_below or not at_once
        left = cls(priced, cutoff, all_below, everything, known, np.inf, thorough=thorough)
        try:
            small, left.keep = left.network()
        except Impossible:
            left.bound = np.inf
            return left
        if not thorough and left._solve(Tables.of(small), left.keep, EASY):
            return left
        left._try(known)
        left._strike(axes)
        return left

    @classmethod
    def within(
        cls, priced: Network, keep: list[np.ndarray], known: np.ndarray | None, dual: Dual | None, variable: int
    ) -> Striking:
        """The search among some states only, all of one variable's at most, going on from what a dual has moved."""
        if known is None:
            known = np.array([int(k[v.cost[k].argmin()]) for v, k in zip(priced.variables, keep, strict=True)])
        left = cls(priced, np.inf, False, keep, known, priced.cost(known), dual=dual, held=(variable,))
        try:
            left._reduce()
        except Impossible:
            left.bound = np.inf
            return left
        left._strike(())
        return left

    def network(self) -> tuple[Network, list[np.ndarray]]:
        """The settled network of what is kept."""
        if self.barred is None:
            self.barred = barred_of(self.priced)
        if self.settled is None or self.settled[1] is not self.keep:
            self.settled = reduce(self.priced, self.keep, not self.all_below, self.barred)
        return self.settled

    def _solve(self, tables: Tables, keep: list[np.ndarray], work: float) -> bool:
        """Finds the best choice of some states by elimination, where that takes few entries per variable."""
        states = minimise(tables, work * len(keep))
        if states is not None:
            self.best, self.solved = among(keep, states[: len(keep)]), True
        return self.solved

    def _strike(self, axes: Sequence[str]) -> None:
        if self.dual is None:
            self.dual = Dual(self.priced.restrict(self.keep), 10 * self.price if np.isfinite(self.price) else 1e6)
        self._guess_coarse(axes)
        if self._enough():
            return
        counted, idle = np.inf, 0
        for turn in range(ROUNDS):
            self.dual.ascend(SWEEPS if turn else SWEEPS - LOOKS)
            bounds = self._bounds()
            if self.bound > self.cutoff:
                self.proof.append(self.dual.messages())
                return
            if turn in TRIES and self.price > self.bound * (1 + 1e-9):
                self._guess(turn, bounds)
            idle += 1
            if idle == IDLE or self._share_dropped(bounds) > WORTH:
                if not self._drop(bounds):
                    return
                self._reduce()
            left = sum(map(len, self.keep))
            if left < (1 - WORTH) * counted:
                counted, idle = left, 0
            if idle in (0, 2) and self._finishes(None, EASY * (1 + turn)):
                return
            few = self.dual.pair_count() < FEW * sum(len(k) > 1 for k in self.keep)
            if idle == IDLE or (few and not self.thorough):
                return

    def _bounds(self) -> list[np.ndarray]:
        """By variable, the bounds of its states; the bound of all is kept."""
        assert self.dual is not None
        bounds, bound = self.dual.state_bounds()
        self.bound = max(bound, self.bound)
        return bounds

    def _enough(self) -> bool:
        """The first sweeps, each with a look at what could be struck off: whether that is all that has to be done."""
        assert self.dual is not None
        for _ in range(LOOKS):
            self.dual.ascend(1)
            bounds = self._bounds()
            if self.bound > self.cutoff:
                self.proof.append(self.dual.messages())
                return True
            if self.price > self.bound * (1 + CLOSE):
                continue
            kept = self._kept(bounds)
            if not all(map(len, kept)):
                return not self._drop(bounds)
            if self._finishes(kept, EASY):
                if self.solved:
                    self.proof.append(self.dual.messages())
                elif self._drop(bounds):
                    self._reduce()
                return True
        return False

    def _finishes(self, kept: list[np.ndarray] | None, work: float) -> bool:
        """Whether elimination can finish among those of the dual's states; it has, if no more than that is asked."""
        assert self.dual is not None
        tables = self.dual.tables(kept)
        if self.thorough or self.price >= self.dual.big:  # the dual knows no higher prices
            return easy(tables, work * len(self.keep))
        return self._solve(tables, self.keep if kept is None else self._among(kept), work)

    def _among(self, kept: list[np.ndarray]) -> list[np.ndarray]:
        return [k[i] for k, i in zip(self.keep, kept, strict=True)]

    def _kept(self, bounds: list[np.ndarray]) -> list[np.ndarray]:
        """The states that the bounds do not rule out."""
        limit = self._limit()
        return [np.flatnonzero(b <= limit) for b in bounds]

    def _limit(self) -> float:
        return (self.cutoff if self.all_below else min(self.price, self.cutoff)) * (1 + 1e-12)

    def _share_dropped(self, bounds: list[np.ndarray]) -> float:
        """The share of the states that could be struck off now."""
        limit = self._limit()
        return sum(int((b > limit).sum()) for b in bounds) / sum(map(len, self.keep))

    def _reduce(self) -> None:
        """Without what has become impossible or indistinguishable."""
        _, keep = self.network()
        place = [np.searchsorted(old, new) for old, new in zip(self.keep, keep, strict=True)]
        if sum(map(len, keep)) < sum(map(len, self.keep)) and self.dual is not None:
            self.dual.restrict(place)
        self.keep = keep

    def _drop(self, bounds: list[np.ndarray]) -> bool:
        """Strikes off; false where nothing is left."""
        assert self.dual is not None
        kept = self._kept(bounds)
        if sum(map(len, kept)) < sum(map(len, self.keep)):
            self.proof.append(self.dual.messages())
            if not all(map(len, kept)):
                self.bound = np.inf
                return False
            self.dual.restrict(kept)
            self.keep = self._among(kept)
        return True

    def _try(self, states: np.ndarray) -> None:
        better = improve(self.priced, states, held=self.held)
        if (price := self.priced.cost(better)) < self.price:
            self.best, self.price = better, price

    def _here(self, states: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """Where the given states, one or several of each variable, are among those kept."""
        found = []
        for kept, some in zip(self.keep, states, strict=True):
            here = np.zeros(1 + max(kept.max(initial=0), np.max(some, initial=0)), bool)
            here[some] = True
            found.append(np.flatnonzero(here[kept]))
        return found

    def _guess(self, turn: int, bounds: list[np.ndarray]) -> None:
        """Looks for a better choice."""
        assert self.dual is not None
        self._try(among(self.keep, self.dual.choice()))
        found = near_bounds(self.dual, bounds, self.price - self.bound)
        if found is not None:
            self._try(among(self.keep, found))
        if turn > 1 or self.price > self.bound * (1 + NEAR):
            self._free_most()

    def _free_most(self) -> None:
        """Chooses most variables anew and together, and then again with others held."""
        assert self.dual is not None
        spare = set[int]()
        for _ in range(PASSES if self.freed != self.price else 0):
            here = self._here(self.best)
            if not all(map(len, here)):  # a state of the best choice was merged into its equal
                break
            found, held = free_most(self.dual, here, spare)
            if found is not None:
                self._try(among(self.keep, found))
            if not held:
                break
            spare |= held
        self.freed = self.price

    def _guess_coarse(self, axes: Sequence[str]) -> None:
        """The best choices in which mesh axes act together."""
        assert self.dual is not None
        for groups in groupings(axes):
            states = coarse_states(self.priced, groups)
            found = best_of(self.dual, self._here(states)) if states else None
            if found is not None:
                self._try(among(self.keep, found))
