"""Whether some choice of states can be had at all: held to enumeration."""

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from planner.solve.possible import is_possible
from tests.examples import examples

from .networks import choices, networks


@settings(derandomize=True, deadline=None, max_examples=examples(300))
@given(networks(), st.floats(0.0, 0.8), st.integers(0, 2**32 - 1))
def test_it_is_what_enumeration_finds(network, barred, seed):
    rng = np.random.default_rng(seed)
    for star in network.stars:
        star.price[rng.random(star.price.shape) < barred] = np.inf
        np.fill_diagonal(star.price, 0.0)
    possible = bool(choices(network))
    event("possible" if possible else "impossible")
    assert is_possible(network) == possible
