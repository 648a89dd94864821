"""Programs that several planner tests share, and the machine that they run on."""

from __future__ import annotations

import ir.ops  # noqa: F401
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.fft import FFT
from ir.ops.reduce import Sum


def tensor(dtype: str = "f32", **dims: int) -> TensorType:
    return TensorType(tuple(Dim(name, size) for name, size in dims.items()), dtype)


def call(name: str, *operands: Value) -> Value:
    return emit(Op.table[name](), *operands)


def regression(n: int, d: int, chains: int = 0) -> Program:
    """Half the squared error of a linear model, with its gradient; over several chains if wished."""
    lead = {"chain": chains} if chains else {}
    with Builder("regression") as b:
        x, y = b.input("x", tensor(n=n, d=d), "data"), b.input("y", tensor(n=n), "data")
        w = b.input("w", tensor(**lead, d=d), "latent")
        residual = emit(Contract(("d",)), x, w) - y
        loss = 0.5 * emit(Contract(("n",)), residual, residual)
        gradient = emit(Contract(("n",)), residual, x)
        return b.finish({"loss": loss, "gradient": gradient}, {"gradient": "w"})


def two_products(tokens: int, width: int, hidden: int) -> Program:
    """Two matrix products with an elementwise function between: x·A, exp, ·B."""
    with Builder("two_products") as b:
        x = b.input("x", tensor(t=tokens, i=width), "data")
        first, second = b.input("A", tensor(i=width, h=hidden), "data"), b.input("B", tensor(h=hidden, o=width), "data")
        return b.finish({"y": emit(Contract(("h",)), call("exp", emit(Contract(("i",)), x, first)), second)})


def fourier(x: int, y: int, z: int) -> Program:
    """A 3-D transform, one dim at a time."""
    with Builder("fourier") as b:
        field = b.input("delta", tensor("c64", x=x, y=y, z=z), "latent")
        modes = emit(FFT("x", "kx"), emit(FFT("y", "ky"), emit(FFT("z", "kz"), field)))
        return b.finish({"modes": modes})


def field(n: int) -> Program:
    """One large elementwise chain that ends in a scalar."""
    with Builder("field") as b:
        x = b.input("x", tensor(n=n), "latent")
        return b.finish({"total": emit(Sum(("n",)), call("exp", x) * x)})
