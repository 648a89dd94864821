"""The device mesh: named axes and their sizes, as `row=4,col=2`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from .errors import Diagnostic
from .hashed import hash_once


@hash_once
@dataclass(frozen=True)
class Mesh:
    """Ordered mesh axes; the empty mesh is one device."""

    axes: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Mesh:
        """Reads `row=4,col=2` (or `8`, one axis named `row`); raises `Diagnostic` with what would do."""
        text = text.strip()
        if text in ("", "1"):
            return cls()
        if text.isdigit() and int(text) > 0:
            return cls((("row", int(text)),))
        axes = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*=\s*(\d+)\s*", part)
            if match is None or int(match[2]) < 1:
                raise Diagnostic(
                    "plan", f'cannot read the mesh "{text}"', hint="write axes and sizes, as row=4,col=2", where="mesh"
                )
            axes.append((match[1], int(match[2])))
        if len({name for name, _ in axes}) < len(axes):
            raise Diagnostic("plan", f'the mesh "{text}" names one axis twice', where="mesh", hint="axis names differ")
        return cls(tuple(axes))

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.axes)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(size for _, size in self.axes)

    @cached_property
    def devices(self) -> int:
        return math.prod(self.shape)

    def size(self, axes: str | Iterable[str]) -> int:
        """The number of devices along one axis or the product over several."""
        known = self._sizes
        try:
            return known[axes]  # type: ignore[index]
        except (KeyError, TypeError):  # the first time, or no tuple
            if isinstance(axes, str):
                raise
            axes = tuple(axes)
            return known.setdefault(axes, math.prod([known[a] for a in axes]))

    @cached_property
    def _sizes(self) -> dict[str | tuple[str, ...], int]:
        """Sizes by axis, and by axes once they are asked for."""
        return dict(self.axes)

    def without(self, axes: Iterable[str]) -> Mesh:
        gone = set(axes)
        return Mesh(tuple((name, size) for name, size in self.axes if name not in gone))

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in self.axes) or "1"
