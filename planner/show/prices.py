"""What values' other layouts cost, as the page shows it; `planner.ask.prices` computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ir.layout import Layout


@dataclass(frozen=True)
class Prices:
    """By value name: each layout that it could have, with the seconds more than the plan's, cheapest first.

    None stands for more than `limit` seconds more, or for a layout that no plan has.
    """

    extra: Mapping[str, Sequence[tuple[Layout, float | None]]]
    limit: float
