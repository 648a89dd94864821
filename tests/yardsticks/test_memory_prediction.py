"""The predicted peak of a plan is what XLA says that the compiled program needs, within a few per cent.

The bounds hold for XLA:CPU as it comes (JAX 0.10): arguments, results and temporary buffers of one device. The rules
were made with `CASES`. On `OTHERS` they stay on the safe side, and may say half as much again as XLA needs where its
schedule takes sums sooner than the rules suppose.
"""

import statistics

import pytest

from tests.yardsticks.memory_cases import CASES, OTHERS, planned, predicted_bytes, xla_bytes

LARGE = 64e6
QUICK = [c for c in CASES if c.chains == 1 and c.model in ("mass", "linear", "radon")]
MEDIAN, LOW, HIGH = 0.10, 0.90, 1.25
"""How far the median may be off, and the least and largest ratio of predicted to XLA's bytes: never much too little."""

SAFE = 1.6


def ratios(cases):
    found = {}
    for case in cases:
        executable = planned(case)
        predicted, needed = predicted_bytes(executable), xla_bytes(executable)
        assert needed > LARGE
        found[case] = predicted / needed
        print(f"\n{predicted / 1e6:9.1f} MB of {needed / 1e6:9.1f} MB, {found[case]:.3f}: {case}", end="")
    return found


def verify(found):
    assert {str(c): r for c, r in found.items() if not LOW <= r <= HIGH} == {}
    assert statistics.median(abs(r - 1) for r in found.values()) <= MEDIAN


def test_the_examples_need_what_is_predicted():
    verify(ratios(QUICK))


@pytest.mark.slow
def test_large_programs_need_what_is_predicted():
    verify(ratios(CASES))


@pytest.mark.slow
def test_no_program_needs_much_more_than_is_predicted():
    found = ratios(OTHERS)
    assert {str(c): r for c, r in found.items() if not LOW <= r <= SAFE} == {}
