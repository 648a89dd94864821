"""What a run's user is to know: a finding, with advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing to know: `severity` "problem" spoils the results, "caution" may; `where` names quantities or chains."""

    severity: Literal["problem", "caution"]
    what: str
    advice: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.severity}: {self.what}. {self.advice}"


def told_chains(chains: Iterable[int]) -> str:
    numbers = sorted(int(c) for c in chains)
    return f"chain{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
