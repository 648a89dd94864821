"""Probabilistic nodes: what a model says. Passes replace them before anything is planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..dims import Dim, TensorType
from ..dist import Distribution
from ..errors import Diagnostic, InternalError
from ..op import Op
from .ownership import NEED


class Site(Op):
    """The interface of probabilistic nodes; they are elementwise in form and have no block computation."""

    site: str

    def local(self, place: Any, *blocks: Any) -> Any:
        raise InternalError(f"the site '{self.site}' ({self.name}) must be replaced by a pass before it can run")


@dataclass(frozen=True)
class Sample(Site):
    """A latent quantity drawn from a distribution whose parameters are the operands.

    `dims` are the draw's dims, event dims included. `noncentered` asks for the recentred form; `generated` marks a
    quantity that is drawn after inference and takes no part in the density.
    """

    site: str
    dist: Distribution
    dims_: tuple[Dim, ...]
    dtype: str = "f32"
    noncentered: bool = False
    generated: bool = False
    name: ClassVar[str] = "sample"

    def result(self, *params: TensorType):
        t = self.dist.event_type(self.dims_, self.dtype, *params)
        check_params(self.site, t, params, self.dist.inner())
        return t


@dataclass(frozen=True)
class Observe(Site):
    """An observed quantity: operand 0 is its value, then the parameters; with `masked`, the last operand is a mask.

    The result stands for the log density by element.
    """

    site: str
    dist: Distribution
    dtype: str = "f32"
    masked: bool = False
    name: ClassVar[str] = "observe"

    def result(self, x: TensorType, *params: TensorType):
        check_params(self.site, x, params, self.dist.inner())
        return TensorType(x.without(self.dist.event).dims, self.dtype)


@dataclass(frozen=True)
class Factor(Site):
    """A term added to the log density, summed over all its dims."""

    site: str
    name: ClassVar[str] = "factor"

    def result(self, x: TensorType):
        if not x.is_real:
            raise Diagnostic("type", f"the factor '{self.site}' must be real, but it is {x.dtype}")
        return x


@dataclass(frozen=True)
class Deterministic(Site):
    """A named quantity: the operand under a name. `saved` says whether a run stores its draws."""

    site: str
    generated: bool = False
    saved: bool = True
    name: ClassVar[str] = "deterministic"

    def result(self, x: TensorType):
        return x


@dataclass(frozen=True)
class Limit(Site):
    """What devices needed to hold of particles (`need` of `ir.ops.ownership`), and what they have room for.

    Where its load is more than 1 the density is NaN. mesh, reach, capacity and ownership are those of the particles'
    ops. It takes no part in the density.
    """

    site: str
    mesh: tuple[str, ...]
    reach: int
    capacity: int
    ownership: str
    name: ClassVar[str] = "limit"

    def result(self, x: TensorType):
        if not x.is_real or NEED not in x.dims:
            raise Diagnostic("type", f"the limit '{self.site}' is of what particles need, but it is {x}")
        return x


def check_params(site: str, t: TensorType, params: tuple[TensorType, ...], inner: tuple[str, ...] = ()) -> None:
    """Every dim of a parameter must be a dim of the site, its event or `inner`; raises `Diagnostic`."""
    sizes = {d.name: d.size for d in t.dims}
    for p in params:
        for d in p.dims:
            if d.name in inner and d.name not in sizes:
                continue
            if d.name not in sizes:
                left = f"{site}[{', '.join(t.names)}]" if t.names else f"{site}"
                raise Diagnostic(
                    "type",
                    f'a parameter of "{site}" has dim [{d.name}], which {left} does not have',
                    hint=f"declare it with that dim, index it, x[{d.name} = index], or sum(x, over = {d.name})",
                )
            if sizes[d.name] != d.size:
                raise Diagnostic(
                    "type", f"dim '{d.name}' has size {sizes[d.name]} in \"{site}\" and {d.size} in its parameter"
                )
