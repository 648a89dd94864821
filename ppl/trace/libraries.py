"""Libraries of the language: functions that a model text knows after `use NAME`. Python has them as `ppl.cosmo`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

LIBRARIES = {"cosmology": "ppl.cosmo.language"}
"""By name, the module whose `FUNCTIONS` are meant; it is imported when a model uses it."""


def library(name: str) -> Mapping[str, Callable[..., Any]]:
    """The functions of a library by name."""
    return importlib.import_module(LIBRARIES[name]).FUNCTIONS


def near(name: str) -> list[str]:
    """Libraries that may be meant by a name that is none."""
    return difflib.get_close_matches(name, LIBRARIES, 1, 0.5)


def library_of(function: str, used: Iterable[str]) -> str | None:
    """A library, not one of those used, that has a function of that name."""
    return next((n for n in LIBRARIES if n not in used and function in library(n)), None)


__all__ = ["LIBRARIES", "library", "library_of", "near"]
