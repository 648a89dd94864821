"""How many examples properties are held to: in `make test-all` those that they ask for, every day two in five."""

from hypothesis import settings

ALL, DAILY = 100, 40
"""Of a property that asks for no number, as hypothesis counts, and in the fast suite (tests/conftest.py)."""


def examples(count: int) -> int:
    """`settings(max_examples=examples(count))`."""
    return max(4, count * settings.default.max_examples // ALL)
