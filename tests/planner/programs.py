"""Programs that several planner tests share, and the machine that they run on."""

from __future__ import annotations

import ir.ops  # noqa: F401
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.control import scan
from ir.ops.fft import FFT, RFFT
from ir.ops.gather import Gather, ScatterAdd
from ir.ops.linalg import Cholesky
from ir.ops.reduce import Sum
from ir.ops.shape import Rename
from ir.ops.stencil import Stencil


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


def robust(n: int, d: int) -> Program:
    """The gradient of a linear model with an error that grows slowly for large residuals."""
    with Builder("robust") as b:
        x, y = b.input("x", tensor(n=n, d=d), "data"), b.input("y", tensor(n=n), "data")
        w = b.input("w", tensor(d=d), "latent")
        residual = emit(Contract(("d",)), x, w) - y
        square = residual * residual + 1.0
        loss = emit(Sum(("n",)), call("log", square))
        slope = 2.0 * residual / square
        return b.finish({"loss": loss, "gradient": emit(Contract(("n",)), slope, x)}, {"gradient": "w"})


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


def perceptron(tokens: int, width: int, hidden: int, out: int) -> Program:
    """y = exp(x·A)·B, half of |y|² summed, and its gradients in x, A and B."""
    with Builder("perceptron") as b:
        x = b.input("x", tensor(t=tokens, i=width), "latent")
        first, second = (
            b.input("A", tensor(i=width, h=hidden), "latent"),
            b.input("B", tensor(h=hidden, o=out), "latent"),
        )
        s = call("exp", emit(Contract(("i",)), x, first))
        y = emit(Contract(("h",)), s, second)
        back = emit(Contract(("o",)), y, second) * s
        gradients = {
            "grad:B": emit(Contract(("t",)), s, y),
            "grad:A": emit(Contract(("t",)), x, back),
            "grad:x": emit(Contract(("h",)), back, first),
        }
        ties = {name: name.removeprefix("grad:") for name in gradients}
        return b.finish({"loss": emit(Contract(("t", "o")), y, y), **gradients}, ties)


def partial_sums(rows: int, width: int, out: int, count: int) -> Program:
    """y = Σ_k X_k·A_k, the products added one by one."""
    with Builder("partial_sums") as b:
        total = None
        for k in range(count):
            x, matrix = (
                b.input(f"X{k}", tensor(n=rows, i=width), "data"),
                b.input(f"A{k}", tensor(i=width, o=out), "data"),
            )
            term = emit(Contract(("i",)), x, matrix)
            total = term if total is None else total + term
        assert total is not None
        return b.finish({"y": total})


def pooled(groups: int, d: int) -> Program:
    """Σ_g |z_g - θ|² + Σ_g |y_g - z_g|² with half its gradients in θ (up to sign) and z."""
    with Builder("pooled") as b:
        theta, z = b.input("theta", tensor(d=d), "latent"), b.input("z", tensor(g=groups, d=d), "latent")
        y = b.input("y", tensor(g=groups, d=d), "data")
        prior, misfit = z - theta, z - y
        loss = emit(Contract(("g", "d")), prior, prior) + emit(Contract(("g", "d")), misfit, misfit)
        gradients = {"grad:theta": emit(Sum(("g",)), prior), "grad:z": prior + misfit}
        return b.finish({"loss": loss, **gradients}, {name: name[5:] for name in gradients})


def there_and_back(x: int, y: int, z: int) -> Program:
    """A Poisson solve in k-space: three transforms, a product with the kernel, three inverse transforms."""
    with Builder("poisson") as b:
        field = b.input("delta", tensor("c64", x=x, y=y, z=z), "data")
        kernel = b.input("kernel", tensor("c64", kx=x, ky=y, kz=z), "data")
        modes = emit(FFT("x", "kx"), emit(FFT("y", "ky"), emit(FFT("z", "kz"), field)))
        return b.finish({"phi": inverse(modes * kernel)})


def inverse(modes: Value) -> Value:
    """Three inverse transforms, the dims in the order that undoes z, y, x."""
    return emit(FFT("kz", "z", True), emit(FFT("ky", "y", True), emit(FFT("kx", "x", True), modes)))


def real_fourier(x: int, y: int, z: int) -> Program:
    """A 3-D transform of a real field to half a spectrum along z."""
    with Builder("real_fourier") as b:
        field = b.input("delta", tensor(x=x, y=y, z=z), "data")
        return b.finish({"modes": emit(FFT("x", "kx"), emit(FFT("y", "ky"), emit(RFFT("z", "kz"), field)))})


def forces(n: int, by_transforms: bool) -> Program:
    """The force of a density on a grid: its potential's gradient by three inverse transforms, or by differences."""
    with Builder("forces") as b:
        density = b.input("delta", tensor("c64", x=n, y=n, z=n), "data")
        kernel = b.input("kernel", tensor("c64", kx=n, ky=n, kz=n), "data")
        modes = emit(FFT("x", "kx"), emit(FFT("y", "ky"), emit(FFT("z", "kz"), density))) * kernel
        if by_transforms:
            steps = {d: b.input(f"step_{d}", tensor("c64", **{f"k{d}": n}), "data") for d in "xyz"}
            return b.finish({f"force_{d}": inverse(modes * step) for d, step in steps.items()})
        phi = inverse(modes)
        return b.finish({f"force_{d}": emit(Stencil(d, (-1, 1), (0.5, -0.5)), phi) for d in "xyz"})


def one_layer(tokens: int, width: int, hidden: int) -> Program:
    """|exp(x·A)|² over data x, with half its gradient in A."""
    with Builder("one_layer") as b:
        x, matrix = b.input("x", tensor(t=tokens, i=width), "data"), b.input("A", tensor(i=width, h=hidden), "latent")
        s = call("exp", emit(Contract(("i",)), x, matrix))
        gradient = emit(Contract(("t",)), x, s * s)
        return b.finish({"loss": emit(Contract(("t", "h")), s, s), "grad:A": gradient}, {"grad:A": "A"})


def looked_up(table: int, entries: int) -> Program:
    """Σ_n (table[index_n] - y_n)² with half its gradient in the table: a look-up and the scatter that undoes it."""
    with Builder("looked_up") as b:
        values = b.input("table", tensor(k=table), "latent")
        index, y = b.input("index", tensor("i32", n=entries), "data"), b.input("y", tensor(n=entries), "data")
        residual = emit(Gather("k"), values, index) - y
        gradient = emit(ScatterAdd(Dim("k", table), ("n",)), residual, index)
        return b.finish({"loss": emit(Contract(("n",)), residual, residual), "grad": gradient}, {"grad": "table"})


def painted(particles: int, cells: int) -> Program:
    """Particles of some mass, added into the cells of a mesh."""
    with Builder("painted") as b:
        mass, cell = b.input("mass", tensor(n=particles), "data"), b.input("cell", tensor("i32", n=particles), "data")
        return b.finish({"density": emit(ScatterAdd(Dim("k", cells), ("n",)), mass, cell)})


def factored(matrices: int, n: int) -> Program:
    """The lower factors of a batch of covariances."""
    with Builder("factored") as b:
        return b.finish({"L": emit(Cholesky("i", "j"), b.input("K", tensor(b=matrices, i=n, j=n), "data"))})


def iterated(n: int, steps: int) -> Program:
    """h ← exp(A·h), `steps` times: a matrix on all devices, a vector that every step needs whole."""
    with Builder("iterated") as b:
        first, matrix = b.input("h", tensor(n=n), "latent"), b.input("A", tensor(m=n, n=n), "data")

        def body(carries, slices, shared):
            product = emit(Contract(("n",)), shared[0], carries[0])
            return (emit(Rename("m", "n"), call("exp", product)),), ()

        (last,), _ = scan("step", body, (first,), (), (matrix,), length=steps)
        return b.finish({"last": last})
