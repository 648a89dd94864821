"""Random cost networks, and the plainest judge of them: all choices, one after the other."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from ir.dims import Dim, TensorType
from ir.graph import Value
from ir.layout import Layout
from planner.solve.network import Network, Star, Use, Variable

TYPE = TensorType((Dim("i", 7),))


@st.composite
def networks(draw, most: int = 5, states: int = 4) -> Network:
    """A few variables, and stars whose uses share layouts, want several at once or none, and cannot have some."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(2, most))
    sizes = rng.integers(1, states + 1, count)
    coarse = draw(st.booleans())  # whole numbers, so that choices tie

    def costs(*shape: int) -> np.ndarray:
        return rng.integers(0, 4, shape).astype(float) if coarse else rng.random(shape)

    variables = [
        Variable(f"v{i}", list(range(n)), costs(n) + 0.5, rng.integers(0, 3, n) * 1.0) for i, n in enumerate(sizes)
    ]
    stars = []
    for s in range(draw(st.integers(1, most))):
        layouts = int(rng.integers(1, 5))
        price = costs(layouts, layouts)
        price[rng.random(price.shape) < draw(st.sampled_from([0.0, 0.15]))] = np.inf
        np.fill_diagonal(price, 0.0)
        source, *users = rng.permutation(count)[: int(rng.integers(2, count + 1))].tolist()
        uses = []
        for user in users:
            sets = [
                tuple(sorted(set(rng.integers(0, layouts, rng.integers(0, 3)).tolist()))) for _ in range(sizes[user])
            ]
            distinct = sorted(set(sets))
            step = int(rng.integers(1, 6))
            uses.append(Use(user, np.array([distinct.index(x) for x in sets]), distinct, (step, step)))
        labels = rng.integers(0, layouts, sizes[source])
        star = Star(
            Value(f"x{s}", TYPE),
            source,
            labels,
            [Layout.of({"i": f"a{n}"}) if n else Layout.of() for n in range(layouts)],
            price,
            (price > 0).astype(int),
            uses,
            (0, 6),
            True,
            rng.integers(1, 9, layouts).astype(float),
            rng.integers(0, 3, (layouts, layouts)).astype(float),
        )
        stars.append(star)
    return Network(variables, stars)


def choices(network: Network) -> list[tuple[float, tuple[int, ...]]]:
    """Every possible choice with its price, cheapest first."""
    every = itertools.product(*(range(len(v.states)) for v in network.variables))
    priced = [(network.cost(states), states) for states in every]
    return sorted((cost, states) for cost, states in priced if np.isfinite(cost))
