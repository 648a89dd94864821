"""Hashes that are computed once: layouts and types are keys of dicts that a search looks into millions of times."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")


def hash_once(cls: type[T]) -> type[T]:
    """A frozen dataclass whose instances remember their hash. Equality and fields are as they were.

    What is remembered is neither copied nor pickled: the hashes of texts differ between processes.
    """
    compute = cls.__hash__
    names = tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]

    def remembered(self: Any) -> int:
        found = self._hash
        if found is None:
            object.__setattr__(self, "_hash", found := compute(self))
        return found

    cls._hash = None  # type: ignore[attr-defined]
    cls.__hash__ = remembered  # type: ignore[method-assign]
    cls.__reduce__ = lambda self: (type(self), tuple(getattr(self, n) for n in names))  # type: ignore[method-assign]
    return cls
