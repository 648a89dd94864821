"""Measured seconds of collectives: curves over the size of the message, one for each size of group.

A curve is a list of (bytes of the operand on one device, seconds), monotone in both. Between its points it is straight
in log2 of both; below the first it is flat, since there the latency decides, and above the last the bandwidth of the
last point holds. Groups that were not measured are reached from those that were by what each device sends.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Points = tuple[tuple[float, float], ...]


def share(kind: str, n: int) -> float:
    """What each device of a group of n sends, in operands of one device."""
    if n == 1:
        return 0.0
    if kind == "collective_permute":
        return 1.0
    return {"all_reduce": 2 * (n - 1) / n, "all_gather": n - 1.0}.get(kind, (n - 1) / n)


@dataclass(frozen=True)
class Curve:
    """Seconds by message size for groups of `nodes` nodes with `per` devices in each."""

    nodes: int
    per: int
    points: Points

    @property
    def n(self) -> int:
        return self.nodes * self.per

    @property
    def latency(self) -> float:
        return self.points[0][1]

    def seconds(self, size: float) -> float:
        points = self.points
        if size <= points[0][0]:
            return points[0][1]
        if size >= points[-1][0]:
            return points[-1][1] * size / points[-1][0]
        right = bisect_right(points, (size, math.inf))
        (x, s), (y, t) = points[right - 1], points[right]
        return s * (t / s) ** (math.log(size / x) / math.log(y / x))

    def for_group(self, kind: str, n: int, size: float) -> float:
        """What the curve says of another group: the same bytes sent, and a latency that grows with log2 n."""
        alike = size * share(kind, n) / share(kind, self.n)
        if kind == "collective_permute":
            return self.seconds(alike)
        return self.seconds(alike) + self.latency * (math.log2(n) / math.log2(self.n) - 1)


def curve_of(curves: Sequence[Curve], kind: str, nodes: int, per: int) -> Callable[[float], float]:
    """Seconds of a collective by bytes of operand, from the curves of its kind on one link.

    Of the numbers of devices per node that were measured the one nearest to the group's counts; between two numbers of
    nodes (or, inside a node, of devices) the seconds go straight in log2 of both.
    """
    inside = all(c.nodes == 1 for c in curves)
    if not inside:
        nearest = min({c.per for c in curves}, key=lambda p: (abs(math.log2(p / per)), p))
        curves = [c for c in curves if c.per == nearest]
    n, steps = nodes * per, sorted(curves, key=lambda c: c.n)
    wanted = per if inside else nodes
    at = [c.per if inside else c.nodes for c in steps]
    right = bisect_right(at, wanted)
    if right and (at[right - 1] == wanted or right == len(at)):
        return lambda size: steps[right - 1].for_group(kind, n, size)
    if right == 0:
        return lambda size: steps[0].for_group(kind, n, size)
    part = math.log(wanted / at[right - 1]) / math.log(at[right] / at[right - 1])

    def between(size: float) -> float:
        low, high = steps[right - 1].for_group(kind, n, size), steps[right].for_group(kind, n, size)
        return low * (high / low) ** part

    return between
