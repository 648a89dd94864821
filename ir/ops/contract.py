"""Products summed over shared dims: dot products, matrix products and everything between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from ..dims import Dim, TensorType, union
from ..errors import Diagnostic
from ..op import Op, Reduce
from ..place import align

FEW = 4096
"""Products that are summed one by one (four chains of a regression of 100 rows and 5 columns are 2,000)."""


@dataclass(frozen=True)
class Contract(Op):
    """Multiplies two tensors by name and sums over the shared dims `over`; other shared dims are batch dims."""

    over: tuple[str, ...]
    name: ClassVar[str] = "contract"

    def result(self, x: TensorType, y: TensorType):
        dims = union(x, y)
        for dim in self.over:
            if dim not in x or dim not in y:
                lacks = "the left" if dim not in x else "the right"
                raise Diagnostic(
                    "type",
                    f"cannot contract over '{dim}': {lacks} operand does not have it "
                    f"([{', '.join(x.names)}] with [{', '.join(y.names)}])",
                    hint="both operands of a contraction must have the dim; sum(x, over = dim) sums one tensor",
                )
        if x.dtype != y.dtype:
            raise Diagnostic("type", f"cannot contract {x.dtype} with {y.dtype}")
        return TensorType(tuple(d for d in dims if d.name not in self.over), x.dtype)

    def roles(self, x, y):
        return {dim: Reduce() for dim in self.over}

    def linear(self, x, y):
        return ((0,), (1,))

    def sums_by_place(self):
        return True

    def flops(self, x, y):
        return 2.0 * math.prod(d.size for d in union(x, y))

    def local(self, place, x, y):
        tx, ty = place.operands
        x, y = place.select(x, tx.names, 0, self.over), place.select(y, ty.names, 0, self.over)
        only_x, only_y = set(tx.names) - set(ty.names), set(ty.names) - set(tx.names)
        # A sum of products: XLA fuses it with what makes the operands, a dot it would not; and of few products a dot
        # may be a call of a library, which costs more than they do and keeps a loop around it from being one function.
        names = tuple(d.name for d in union(tx, ty))
        few = math.prod(place.extent(n) for n in names) <= FEW
        if place.reproducible or few or not (only_x or only_y):
            product = align(x, tx.names, names) * align(y, ty.names, names)
            return place.sum(product, names, self.over, x.dtype)
        letter = {d: chr(ord("a") + i) for i, d in enumerate(place.sizes)}
        spec = [("".join(letter[d] for d in t.names)) for t in (tx, ty, place.results[0])]
        return jnp.einsum(f"{spec[0]},{spec[1]}->{spec[2]}", x, y, precision="highest")

    def vjp(self, cotangent, result, x, y):
        from .elementwise import product_into

        return product_into(cotangent, y, x.type), product_into(cotangent, x, y.type)

    @classmethod
    def examples(cls):
        i, j, k, n = Dim("i", 9), Dim("j", 10), Dim("k", 11), Dim("n", 3)
        f = "f64"
        return [
            (cls(("k",)), (TensorType((i, k), f), TensorType((k, j), f))),
            (cls(("k",)), (TensorType((n, i, k), f), TensorType((k, n), f))),
            (cls(("i", "k")), (TensorType((i, k), f), TensorType((i, k), f))),
        ]
