"""The graphs that the benchmark of planning plans: gradients of models, and of toys of what field-level models do."""

from __future__ import annotations

from pathlib import Path

import ir.ops  # noqa: F401
from ir.build import Builder, cast, emit
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.control import scan
from ir.ops.create import Coordinate
from ir.ops.fft import FFT, IRFFT, RFFT
from ir.ops.reduce import Sum
from ir.ops.stencil import Stencil
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify

EXAMPLES = Path(__file__).parent.parent / "examples"


def model_gradient(file: str, chains: int = 4, **sizes: int) -> Program:
    """The planned program of an example: its log density and gradient over several chains."""
    from ppl.bind import outline
    from ppl.pipeline import program_at
    from ppl.text.elaborate import load

    return program_at(outline(load(str(EXAMPLES / file)), sizes=sizes), "batched", chains)


def particle_mesh(n: int, steps: int, *, scanned: bool = False, gradient: bool = True) -> Program:
    """Toy of a particle-mesh simulation, with its gradient if wished, on n × (n + 2) × (n - 2) cells.

    A step paints (a sum over components and a stencil), solves for the force in k-space with three transforms forth and
    three back, reads it out (a stencil), kicks and drifts. The log density holds the last positions to data.
    """
    with Builder("particle_mesh") as b:
        cells = _box(n)
        field = TensorType((Dim("c", 3), *cells))
        q, data = b.input("q", field, "latent"), b.input("data", field, "data")
        waves, step = b.input("waves", TensorType((Dim("c", 3), *_modes(cells))), "data"), b.input("dt", TensorType())
        p, waves = q * 0.0, cast(waves, "c64")

        def leap(carries, _, shared):
            (q, p), (waves, dt) = carries, shared
            density = emit(Stencil("x", (-1, 0, 1), (0.25, 0.5, 0.25)), emit(Sum(("c",)), q))
            force = emit(Stencil("x", (-1, 0, 1), (0.25, 0.5, 0.25)), backward(forward(density, cells) * waves, cells))
            p = p + force * dt
            return (q + p * dt, p), ()

        if scanned:
            (q, p), _ = scan("step", leap, (q, p), (), (waves, step), length=steps)
        else:
            for _ in range(steps):
                (q, p), _ = leap((q, p), (), (waves, step))
        miss = q - data
        log_density = -0.5 * emit(Contract(("c", "x", "y", "z")), miss, miss)
        return _gradient(b, log_density, "q") if gradient else simplify(b.finish({"log_density": log_density}))


def lagrangian(n: int | tuple[int, int, int]) -> Program:
    """Toy of second-order Lagrangian perturbation theory with its gradient: one transform forth and nine back.

    Of the linear field's potential the three first and the six second derivatives are taken in k-space, the latter
    multiplied in pairs into the source of the second-order term, which is held to data together with the former.
    """
    with Builder("lagrangian") as b:
        cells = _box(n)
        field = TensorType(cells)
        white, data = b.input("white", field, "latent"), b.input("data", field, "data")
        k = [emit(Coordinate(d, "freq")) for d in _modes(cells)]
        modes = forward(white, cells) / (k[0] * k[0] + k[1] * k[1] + k[2] * k[2] + 1.0)
        first = [backward(modes * w, cells) for w in k]
        second = {(i, j): backward(modes * (k[i] * k[j]), cells) for i in range(3) for j in range(i, 3)}
        source = sum_of(
            second[i, i] * second[j, j] - second[i, j] * second[i, j] for i in range(3) for j in range(i + 1, 3)
        )
        miss = sum_of(first) + source - data
        return _gradient(b, -0.5 * emit(Contract(("x", "y", "z")), miss, miss), "white")


def gaussian_field(cells: tuple[int, int, int]) -> Program:
    """A Gaussian random field seen through an exponential, with its gradient: the smallest field-level model."""
    with Builder("gaussian_field") as b:
        dims = tuple(Dim(d, n) for d, n in zip("xyz", cells, strict=True))
        white, data = b.input("white", TensorType(dims), "latent"), b.input("data", TensorType(dims), "data")
        k = [emit(Coordinate(d, "freq")) for d in _modes(dims)]
        delta = backward(forward(white, dims) / (k[0] * k[0] + k[1] * k[1] + k[2] * k[2] + 1.0), dims)
        rate = emit(Op.table["exp"](), delta)
        likelihood = emit(Contract(("x", "y", "z")), data, delta) - emit(Sum(("x", "y", "z")), rate)
        return _gradient(b, likelihood - 0.5 * emit(Contract(("x", "y", "z")), white, white), "white")


def forward(x: Value, cells: tuple[Dim, ...]) -> Value:
    """The transform of a real field: along z to half the modes, then along y and x."""
    return emit(FFT("x", "kx"), emit(FFT("y", "ky"), emit(RFFT("z", "kz"), x)))


def backward(modes: Value, cells: tuple[Dim, ...]) -> Value:
    return emit(IRFFT("kz", "z", cells[2].size), emit(FFT("ky", "y", True), emit(FFT("kx", "x", True), modes)))


def sum_of(terms) -> Value:
    first, *rest = terms
    for term in rest:
        first = first + term
    return first


def node_count(program: Program) -> int:
    """Nodes that compute, those of regions included."""
    return sum(not node.op.regions() for node in program.walk())


def _box(n: int | tuple[int, int, int]) -> tuple[Dim, ...]:
    sizes = n if isinstance(n, tuple) else (n, n + 2, n - 2)
    return tuple(Dim(d, size) for d, size in zip("xyz", sizes, strict=True))


def _modes(cells: tuple[Dim, ...]) -> tuple[Dim, ...]:
    x, y, z = cells
    return Dim("kx", x.size), Dim("ky", y.size), Dim("kz", z.size // 2 + 1)


def _gradient(b: Builder, log_density: Value, latent: str) -> Program:
    return simplify(differentiate(b.finish({"log_density": log_density}), [latent]))
