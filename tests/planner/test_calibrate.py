"""From timings to a machine: known constants come back from noisy timings."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.errors import Diagnostic
from ir.mesh import Mesh
from planner.calibrate import Sample, calibrate, fit_law, rising
from planner.curves import share
from planner.machine import KINDS, Link, Machine
from planner.machine_file import machine_text

ALPHA = (3e-5, 2e-5, 2.5e-5, 4e-5, 1e-5)
BETA = (2e9, 3e9, 4e9, 1e9, 5e9)
LINK = Link(ALPHA, BETA)
RATES = {"matmul f32": 5e10, "fft f64": 2e9, "elementwise": 8e9, "elementwise f32": 4e9, "elementwise f64": 2e9}
RATES |= {"gather": 1e9, "launch": 1 / 6e-6}


def timings(noise: float, seed: int = 0, repeats: int = 1) -> list[Sample]:
    """What a machine of these constants would show; noise only ever adds time."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        late = lambda: 1 + noise * rng.exponential()  # noqa: E731
        for what, rate in RATES.items():
            found += [Sample(what, size, size / rate * late(), noise) for size in (1e5, 1e6, 1e7)]
        for kind in KINDS:
            for n in (2, 4, 8):
                for size in (2.0**k for k in range(10, 25, 2)):
                    found.append(Sample(kind, size, LINK.seconds(kind, 1, n, size) * late(), noise, n))
    return found


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_law_and_the_rates_come_back(noise):
    machine = calibrate(timings(noise), "known", "made up").machine
    for at in range(len(KINDS)):
        assert machine.inside.alpha[at] == pytest.approx(ALPHA[at], rel=0.01 + 2 * noise)
        assert machine.inside.beta[at] == pytest.approx(BETA[at], rel=0.01 + 2 * noise)
    assert machine.rates("matmul").f32 == pytest.approx(5e10, rel=0.01 + 2 * noise)
    assert machine.rates("fft").f64 == pytest.approx(2e9, rel=0.01 + 2 * noise)
    assert machine.rates("gather").bandwidth == pytest.approx(1e9, rel=0.01 + 2 * noise)
    assert machine.launch == pytest.approx(6e-6, rel=0.01 + 2 * noise)
    assert (machine.f32, machine.memory_bandwidth) == (machine.flops("f32"), machine.bandwidth())


def test_hand_written_collectives_come_back_beside_those_of_lax_if_every_kind_was_timed():
    samples = timings(0)
    ours = [Sample(f"native {s.what}", s.size, s.seconds / 3, 0.02, s.n) for s in samples if s.what in KINDS]
    found = calibrate([*samples, *ours], "known", "made up")
    link = found.machine.native
    assert link is not None and link.measured
    for at, kind in enumerate(KINDS):
        assert link.alpha[at] == pytest.approx(ALPHA[at] / 3, rel=0.01)
        assert link.beta[at] == pytest.approx(BETA[at] * 3, rel=0.01)
        assert f"native {kind}" in str(found) and found.machine.inside.alpha[at] == pytest.approx(ALPHA[at], rel=0.01)
    assert calibrate([*samples, *ours[:-24]], "known", "").machine.native is None  # one kind is missing
    assert calibrate(samples, "known", "").machine.native is None


def test_the_curves_follow_what_the_law_cannot():
    """A cache that ends at 1 MB: messages above it are four times slower."""
    slow = [Sample(s.what, s.size, s.seconds * (4 if s.n > 1 and s.size > 2**20 else 1), 0, s.n) for s in timings(0)]
    found = calibrate(slow, "cache", "made up")
    for s in slow:
        if s.n > 1:
            assert found.machine.inside.seconds(s.what, 1, s.n, s.size) == pytest.approx(s.seconds, rel=1e-6)
    fits = {f.what: f for f in found.fits}
    assert all(fits[kind].curve == pytest.approx(1) and fits[kind].law > 1.05 for kind in KINDS)


def test_of_repeated_timings_the_fastest_counts():
    one, many = (calibrate(timings(1.0, 3, repeats), "k", "").machine for repeats in (1, 12))
    error = [max(abs(math.log(m.inside.beta[i] / BETA[i])) for i in range(5)) for m in (one, many)]
    assert error[1] < 0.1 < error[0]


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.floats(1e-7, 10)), min_size=1, max_size=12, unique_by=lambda p: p[0])
)
def test_a_risen_curve_never_falls_and_keeps_its_sizes_and_its_mean(points):
    found = rising(points)
    assert [s for s, _ in found] == sorted(s for s, _ in points)
    assert all(a[1] <= b[1] * (1 + 1e-9) for a, b in pairwise(found))
    assert sum(math.log(t) for _, t in found) == pytest.approx(sum(math.log(t) for _, t in points), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_law_of_two_numbers_has_no_negative_ones(kind):
    falling = [Sample(kind, 1e3, 1e-3, n=2), Sample(kind, 1e6, 1e-4, n=2)]
    alpha, beta = fit_law(kind, falling)
    assert alpha > 0 and beta == 1e30
    steep = [Sample(kind, 1e3, 1e-9, n=4), Sample(kind, 1e6, 1e-3, n=4)]
    alpha, beta = fit_law(kind, steep)
    assert alpha >= 0 and share(kind, 4) * 1e3 / beta <= 1.1e-6


def test_a_calibrated_machine_is_its_file_and_prices_plans(tmp_path):
    found = calibrate(timings(0.05), "here", "8 made-up devices", 1e9)
    path = tmp_path / "here.toml"
    path.write_text(machine_text(found.machine, "Made up."))
    again, mesh = Machine.load(path), Mesh.parse("row=4,col=2")
    assert (again.name, again.title, again.memory_size) == ("here", "8 made-up devices", 1e9)
    for kind in KINDS:
        for axes in (("row",), ("col",), ("row", "col")):
            expected = LINK.seconds(kind, 1, mesh.size(axes), 1e6)
            assert again.collective(kind, mesh, axes, 1e6) == pytest.approx(expected, rel=0.3)


def test_the_table_names_every_kind_with_its_noise(golden):
    golden("planner/calibration.txt", str(calibrate(timings(0.1), "here", "8 made-up devices")))


def test_too_few_timings_are_told():
    with pytest.raises(Diagnostic, match="no timings of launch"):
        calibrate([s for s in timings(0) if s.what != "launch"], "few", "")
