"""Named dimensions and tensor types: `f32[chain=4, x=128]`.

Tensors meet by the names of their dims: broadcasting, matching and reduction never look at positions. A type still
orders its dims, because memory has an order; the order of a result is derived, so that nobody has to think of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from .errors import Diagnostic
from .hashed import hash_once

DTYPES = {
    "bool": ("bool", 1),
    "i32": ("int32", 4),
    "i64": ("int64", 8),
    "u32": ("uint32", 4),
    "f32": ("float32", 4),
    "f64": ("float64", 8),
    "c64": ("complex64", 8),
    "c128": ("complex128", 16),
}
_WIDER = {name: rank for rank, name in enumerate(("bool", "u32", "i32", "i64", "f32", "f64", "c64", "c128"))}
COMPLEX_OF = {"f32": "c64", "f64": "c128", "c64": "c64", "c128": "c128"}
REAL_OF = {"c64": "f32", "c128": "f64", "f32": "f32", "f64": "f64"}

CHAIN = "chain"
"""The dim over which independent chains are batched: the one dim that always stands first in a type."""


@dataclass(frozen=True)
class Dim:
    """A named extent, as `x=128`."""

    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.name}={self.size}"


@hash_once
@dataclass(frozen=True)
class TensorType:
    """A dtype and an ordered set of dims."""

    dims: tuple[Dim, ...] = ()
    dtype: str = "f32"

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.dims):
            raise Diagnostic("type", f"a tensor cannot have one dim twice: [{', '.join(self.names)}]")

    def __getitem__(self, dim: str) -> int:
        return self.sizes[dim]

    def __contains__(self, dim: str) -> bool:
        return dim in self.names

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(d.name for d in self.dims)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(d.size for d in self.dims)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The dims' sizes by name; not to be changed."""
        return {d.name: d.size for d in self.dims}

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def itemsize(self) -> int:
        return DTYPES[self.dtype][1]

    @property
    def numpy(self) -> str:
        """The dtype's NumPy name, as `float32`."""
        return DTYPES[self.dtype][0]

    @property
    def is_real(self) -> bool:
        return self.dtype in ("f32", "f64")

    @property
    def is_complex(self) -> bool:
        return self.dtype in ("c64", "c128")

    def index(self, dim: str) -> int:
        """The position of a dim."""
        return self.names.index(dim)

    def without(self, names: Iterable[str]) -> TensorType:
        gone = set(names)
        return TensorType(tuple(d for d in self.dims if d.name not in gone), self.dtype)

    def replace(self, dim: str, new: Dim) -> TensorType:
        return TensorType(tuple(new if d.name == dim else d for d in self.dims), self.dtype)

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(self.dims, dtype)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.dims))}]"


def union(*types: TensorType) -> tuple[Dim, ...]:
    """The dims of a result that broadcasts its operands by name.

    The widest operand that holds all dims gives the order; otherwise the first operand's dims come first and the
    others follow as they appear. A chain dim stands first. Raises `Diagnostic` where one name has two sizes.
    """
    seen: dict[str, Dim] = {}
    for t in types:
        for d in t.dims:
            if seen.setdefault(d.name, d).size != d.size:
                raise Diagnostic(
                    "type",
                    f"dim '{d.name}' has size {seen[d.name].size} in one operand and {d.size} in another",
                    hint="tensors that share a dim have the same size along it; use another name for another extent",
                )
    order = next((t.dims for t in types if len(t.dims) == len(seen)), tuple(seen.values()))
    return tuple(sorted(order, key=lambda d: d.name != CHAIN))


def promote(*dtypes: str) -> str:
    """The dtype that holds all the given ones: bool < u32 < i32 < i64 < f32 < f64 < c64 < c128."""
    widest = max(dtypes, key=_WIDER.__getitem__)
    if widest == "c64" and "f64" in dtypes:
        return "c128"
    return widest
