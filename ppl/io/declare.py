"""What a model asks of its data: one `Declaration` for each `data` or `const` line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ir.errors import Span

DataType = Literal["real", "int", "bool", "complex", "index"]


@dataclass(frozen=True)
class Declaration:
    """`data counts[x, y]: int<lower = 0>`, as the checker reads it.

    `index_dim` is the dim that values of type `index` point into. `lower` and `upper` are inclusive. `default` (a
    number or an array) stands in when no data of this name is given. `may_be_missing` says that the model reads the
    values under a `where` mask, so that NaN is allowed.
    """

    name: str
    dims: tuple[str, ...] = ()
    type: DataType = "real"
    index_dim: str | None = None
    lower: float | None = None
    upper: float | None = None
    default: Any | None = None
    span: Span | None = None
    may_be_missing: bool = False

    def __str__(self) -> str:
        dims = f"[{', '.join(self.dims)}]" if self.dims else ""
        kind = f"index[{self.index_dim}]" if self.type == "index" else self.type
        limits = [f"{k} = {v:g}" for k, v in (("lower", self.lower), ("upper", self.upper)) if v is not None]
        return f"{self.name}{dims}: {kind}{'<' + ', '.join(limits) + '>' if limits else ''}"
