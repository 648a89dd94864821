"""Plans that recompute to fit a budget, compiled for GPUs: XLA:GPU transforms again as planned, and needs less memory.

The programs are chains, of which the backward pass needs each link's result: of filters in Fourier space, as models of
fields have them, and of matrix products. Without a budget all results are kept.
"""

from functools import cache

import pytest

from backend_cuda.fuse import fuse_transforms
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.mesh import Mesh
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.create import Coordinate
from ir.ops.fft import FFT, IRFFT, RFFT
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from planner import make_plan, peak_bytes
from tests.planner.test_recompute import gradient

from .on_gpus import compile_for_gpus, needs_compiler

pytestmark = needs_compiler
LOW, HIGH = 0.80, 1.25
"""How far the predicted peak may be off."""

LARGE = {"i": 90112, "j": 704, "fj": 704, "m": 1536}
CASES = (("filters", "gpu=4", 0.9), ("products", "gpu=4", 0.95), ("products", "node=2,gpu=4", 0.95))
"""Programs, meshes, and budgets as shares of what the plan without one needs: searches that end within seconds."""


def filters():
    """A plane field, three times filtered in Fourier space and put through a function; held to data."""
    x, y = Dim("x", 8192), Dim("y", 8190)
    with Builder("filters") as b:
        value, seen = b.input("white", TensorType((x, y)), "latent"), b.input("seen", TensorType((x, y)), "data")
        kx, ky = emit(Coordinate(Dim("kx", 8192), "freq")), emit(Coordinate(Dim("ky", 4096), "freq"))
        for n, function in enumerate(("exp", "tanh", "exp")):
            modes = emit(FFT("x", "kx"), emit(RFFT("y", "ky"), value)) / (kx * kx + ky * ky + (1.0 + n))
            value = emit(IRFFT("ky", "y", 8190), emit(FFT("kx", "x", True), modes))
            value = emit(Op.table[function](), value)
        miss = value - seen
        program = b.finish({"log_density": -0.5 * emit(Contract(("x", "y")), miss, miss)})
    return simplify(differentiate(program, ["white"]))


@cache
def planned(name, mesh, share=0.0):
    """The best plan, without a budget or for a share of what that needs; and what XLA makes of it."""
    kinds = ("product", "exp", "wide", "tanh", "product", "square")
    program = filters() if name == "filters" else gradient(kinds, LARGE)
    budget = share and share * planned(name, mesh)[1].prediction.peak_bytes
    plan = make_plan(program, Mesh.parse(mesh), machine="h200x8", memory=budget)
    return program, plan, compile_for_gpus(program, plan)


def transforms(program, plan):
    """How many instructions the plan's transforms are: a joined one to real numbers is two."""
    nodes = fuse_transforms(plan.applied(program), plan).nodes
    return sum(1 + (isinstance(n.op, IRFFT) and bool(n.op.also)) for n in nodes if isinstance(n.op, FFT | RFFT | IRFFT))


@pytest.mark.parametrize(("name", "mesh", "share"), CASES)
def test_a_plan_that_recomputes_needs_less_memory(name, mesh, share):
    program, kept, made = planned(name, mesh)
    _, again, less = planned(name, mesh, share)
    assert again.recompute and not kept.recompute
    assert less.bytes <= min(share * peak_bytes(program, kept), 0.95 * made.bytes)
    for plan, compiled in ((kept, made), (again, less)):
        assert compiled.transforms == transforms(program, plan)
        ratio = peak_bytes(program, plan) / compiled.bytes
        print(f"\n{ratio:.3f} {compiled.bytes / 1e6:.1f} MB, {compiled.transforms} transforms: {name} {mesh}", end="")
        assert LOW <= ratio <= HIGH
    assert less.transforms > made.transforms or name == "products"
