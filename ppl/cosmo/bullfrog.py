"""BullFrog: steps of a particle mesh that keep to second-order perturbation theory, so that few of them do
(List & Hahn 2024, arXiv:2409.19049).

Time is g = D1, velocities v = dx / dg = p / G_D. Over dg = g_(n+1) - g_n a step drifts by half, kicks, drifts by half:

    v_(n+1) = alpha v_n + (1 - alpha) F / g_m,      g_m = g_n + dg / 2, F the gravity there (g_m s1 in linear theory)
    alpha = (D2'_(n+1) - R) / (D2'_n - R),          R = (D2_n + D2'_n dg / 2) / g_m + g_m,   D2' = dD2 / dg

R g_m being what gravity is of second order: so v is that of x = q + D1 s1 + D2 s2, and x its trapezoidal sum, which
is exact where D2 ∝ D1^2 (in the matter era; from a = 0.2 to 0.9 eight steps of equal size in a leave 1e-4 of D2,
FastPM's 1e-2). The paper's D2 is minus ours. Here the second half drift of a step and the first of the next one are
one, as `nbody.Factors` has it, and v is written as the momentum p.
"""

from __future__ import annotations

from ir.build import cast, current, emit
from ir.graph import Value
from ir.ops.reduce import Sum
from ir.ops.shape import Concatenate, Slice

from .growth import Growth
from .nbody import STEP, Factors, Steps, along, part


def bullfrog(growth: Growth, steps: Steps) -> Factors:
    """The factors of BullFrog for a cosmology's growth; middles of steps are those in D1, not those of `steps`."""
    times = along(steps.times)
    g, G, turning = growth.D1(times), growth.D2(times), growth.G_D(times)
    slope = growth.dD2(times) / growth.dD1(times)
    before, after = (lambda x: part(x, 0, -1)), (lambda x: part(x, 1, 0))
    half = 0.5 * (after(g) - before(g))
    middle = before(g) + half
    R = (before(G) + before(slope) * half) / middle + middle
    alpha = (after(slope) - R) / (before(slope) - R)
    count = len(steps.times) - 1
    last = _at(half, count - 1)
    drift = emit(Concatenate((STEP, STEP), STEP), part(half, 0, -1) + part(half, 1, 0), last) if count > 1 else last
    factors = {
        "kick": after(turning) * (1.0 - alpha) / middle,
        "drift": drift / after(turning),
        "keep": alpha * after(turning) / before(turning),
        "first_drift": emit(Sum((STEP,)), _at(half, 0) / _at(turning, 0)),
    }
    return Factors(**{n: cast(x, current().real) for n, x in factors.items()})


def _at(x: Value, i: int) -> Value:
    """One entry, along the steps still."""
    return emit(Slice(STEP, i, i + 1), x)


__all__ = ["bullfrog"]
