"""What is priced is what is performed: the collectives of the programs are those of the plan, and no others.

So it is for the gradients of all examples by their best plans (their next best ones: `test_best_plans`), for the other
programs of a run, for a step of the sampler, for transforms in three dims and for loops.
"""

import re
from collections import Counter
from functools import cache

import jax
import numpy as np
import pytest

import ppl
from backend_cuda import device_mesh
from backend_cuda.inspect import emitted, optimised
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.layout import Layout, block_bytes
from ir.op import Op
from ir.ops.control import scan
from ir.ops.reduce import Sum
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ppl.bind import outline
from ppl.execute import Executable
from ppl.infer.engine import Engine
from ppl.infer.keep import choose, collect_program
from ppl.infer.start import prior_start
from ppl.pipeline import keep
from ppl.posterior import Posterior
from ppl.request import PlanRequest
from tests.yardsticks.on_meshes import MACHINES, Case, compiled
from tests.yardsticks.performed import (
    CASES,
    CHAINS,
    PENCILS,
    PINNED,
    QUICK,
    bytes_by_kind,
    declared,
    listed,
    lowered,
    verify_emitted,
    verify_optimised,
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_we_emit_is_the_plan(case):
    executable, program = lowered(case)
    found = verify_emitted(executable, program)
    if case.mesh == "1":
        assert not found
    print(f"\n{case}: " + ("; ".join(f"{n} x {c}" for (c, _), n in found.items()) or "none"))


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[] if c in QUICK else pytest.mark.slow) for c in CASES], ids=str
)
def test_what_xla_makes_of_it_is_the_plan_combined(case):
    executable, program = lowered(case)
    priced = declared(executable)
    combined = verify_optimised(program, executable.plan.mesh, priced)
    print(f"\n{case}: {sum(priced.values())} collectives, {combined} combined; {dict(bytes_by_kind(priced))} B")


def test_pins_bring_every_kind_of_collective():
    """The cases above are worth something: they hold large and small collectives of every kind but halos."""
    kinds = Counter()
    for case in CASES:
        program = lowered(case)[0]
        kinds.update({(c.kind, len(c.axes)) for c in program.plan.collectives(program.program)})
    every = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute"}
    assert {k for k, _ in kinds} == every
    assert {n for k, n in kinds if k in ("all_gather", "reduce_scatter", "all_to_all")} == {1, 2}
    executable, _ = lowered(PINNED[5])  # the counties are split, so looking them up leaves a sum over the houses
    lookup = next(n for n in executable.program.nodes if n.op.name == "gather")
    assert executable.plan.strategies[lookup.key].split["county"]


def test_every_program_of_a_run_performs_its_plan():
    """Beside the gradient: what is computed of the data once, starting points, kept quantities, translations."""
    posterior = compiled(PENCILS)
    gradient = posterior.gradient_program(CHAINS)
    latents = {i.name: gradient.plan.layouts[i.name] for i in gradient.program.inputs_of("latent")}
    prologue = posterior.programs["prologue"]
    made = [n for n, _ in prologue.outputs if n in gradient.plan.layouts]
    prologue = keep(prologue, made)
    fixed = {n: gradient.plan.layouts[n] for n in made}
    programs = {
        "prologue": Executable(prologue, posterior.request.solve(prologue, fixed, pins=False), posterior.devices),
        "start": prior_start(posterior, CHAINS),
        "collect": posterior.executable(collect_program(posterior, choose(posterior, None, 9), CHAINS, True), latents),
        "constrain": posterior._constrain,
        "unconstrain": posterior._given,
    }
    for name, executable in programs.items():
        found = verify_emitted(executable, executable.lowered())
        print(f"\n{name}: " + ("; ".join(f"{n} x {c}" for (c, _), n in found.items()) or "none"))
    assert declared(programs["collect"]), "the kept map is computed in blocks"


@pytest.mark.parametrize("case", [Case("eight", "8", "talk is cheap"), Case("radon", "8", "talk is cheap")], ids=str)
def test_the_log_density_as_a_function_gathers_only_to_cut_padding_off(case):
    """JAX has no shards of unequal size: to leave a function of whole arrays, the gradient of a latent that is split
    unevenly is gathered along its dim, by XLA's partitioner. Samplers never come there: they keep blocks."""
    posterior = compiled(case)
    gradient = posterior.gradient_program()
    plan, program = gradient.plan, gradient.program
    position = {n: np.zeros(t.shape, t.numpy) for n, t in posterior.latents.items()}
    with jax.enable_x64(True):
        performed = optimised(posterior._jitted.lower(position).compile(), plan.mesh)
    cut = Counter()
    for i in program.inputs_of("latent"):
        for dim, axes in plan.layouts[i.name].splits:
            if i.type[dim] % plan.mesh.size(axes):
                cut["all_gather", axes, block_bytes(i.type, plan.layouts[i.name], plan.mesh)] += 1
    extra = listed(performed) - declared(gradient)
    assert declared(gradient) + extra == listed(performed)
    assert Counter({(c.kind, c.axes, c.bytes): n for (c, _), n in extra.items()}) == cut
    assert bool(cut) == (case.example == "radon")


# --- a step of the sampler ---


@cache
def sampler_block():
    """One block of NUTS on the mass map with its field in 4 x 2 blocks, lowered; the gradient in it."""
    gradient = compiled(PENCILS).gradient_program(CHAINS)
    data = {i.name: gradient.store(i.name, np.zeros(i.type.shape)) for i in gradient.program.inputs_of("data")}
    return Engine(gradient, data, ppl.nuts(chains=CHAINS), 1).lowered(), gradient


def test_a_nuts_step_of_the_mass_map_adds_small_all_reduces_only():
    """Nothing of the size of the field moves but what the plan shows: no gather of a field, no copy of one."""
    block, gradient = sampler_block()
    everything = Counter(p.collective for p in emitted(block, gradient.plan.mesh))
    planned = gradient.plan.collectives(gradient.program)
    own = everything - planned
    assert planned + own == everything, "each collective of the gradient stands in the block once"
    print("\nof the sampler: " + "; ".join(f"{n} x {c}" for c, n in own.items()))
    # The kinetic energy of a new momentum; a leapfrog's, with the U-turn of two leaves; six for those of a subtree.
    products = Counter({c.bytes // (8 * CHAINS): n for c, n in own.items()})
    assert products == {1: 1, 3: 1, 6: 1}
    assert {(c.kind, c.axes, c.dtype) for c in own} == {("all_reduce", ("row", "col"), "f64")}


@pytest.mark.slow
def test_xla_leaves_the_collectives_of_a_nuts_step_as_they_are():
    block, gradient = sampler_block()
    mesh = gradient.plan.mesh
    combined = verify_optimised(block, mesh, listed(emitted(block, mesh)))
    print(f"\n{combined} combined")


# --- Fourier transforms in three dims ---

FIELD = """
model field
dim x, y, z
dim kx = freq(x), ky = freq(y), kz = rfreq(z)
data seen[x, y, z]: real
white[x, y, z] ~ Normal(0, 1)
modes[kx, ky, kz] = rfft(white, x -> kx, y -> ky, z -> kz)
k2[kx, ky, kz] = wavenumber(kx, 1)^2 + wavenumber(ky, 1)^2 + wavenumber(kz, 1)^2
delta[x, y, z] = irfft(modes / (1 + k2), kx -> x, ky -> y, kz -> z)
seen[x, y, z] ~ Normal(delta, 1)
"""
BLOCKS = Layout.of({"x": "row", "y": "col"})
LARGE, SMALL = (1022, 930, 810), (9, 10, 11)


def field(machine, sizes):
    """The posterior of FIELD, and its transform from x/row, y/col to wherever the modes are cheapest."""
    bound = outline(ppl.from_text(FIELD), sizes=dict(zip("xyz", sizes, strict=True)))
    request = PlanRequest.make("row=4,col=2", machine=machine, pins=("white:x=row,y=col",))
    posterior = Posterior(bound, request)
    return posterior, posterior.executable(keep(posterior.program("density"), ["modes"]), {"white": BLOCKS})


def kinds(executable):
    found = Counter()
    for c, n in executable.plan.collectives(executable.program).items():
        found[c.kind, c.axes] += n
    return found


def test_a_pencil_fft_needs_two_all_to_alls():
    """The planner finds the pencil decomposition and leaves k-space transposed; nobody coded either."""
    _, transform = field("h100x8", LARGE)
    program = transform.lowered()
    found = verify_emitted(transform, program)
    assert kinds(transform) == {("all_to_all", ("row",)): 1, ("all_to_all", ("col",)): 1}
    assert transform.plan.outputs["modes"] == Layout.of({"ky": "row", "kz": "col"})
    for (c, _), n in found.items():
        print(f"\n{n} x {c}")
    # Of 1022 x 930 x 406 modes a device holds 256 x 465 x 406, then, kz dealt out and ky padded, 256 x 932 x 203.
    assert {c.bytes for c, _ in found} == {8 * 256 * 465 * 406, 8 * 256 * 932 * 203}
    verify_optimised(program, transform.plan.mesh, found)


def test_a_large_field_and_its_gradient_are_transformed_without_a_gather():
    """Twice there and back, two all-to-alls each or, as slabs, one; beside them the sum of the log density."""
    gradient = field("h100x8", LARGE)[0].gradient_program()
    found = verify_emitted(gradient, gradient.lowered())
    for (c, _), n in found.items():
        print(f"\n{n} x {c}")
    small = [c for c, _ in found if c.kind == "all_reduce"]  # over both axes, or axis by axis: whichever is quicker
    assert {(c.dtype, c.bytes) for c in small} == {("f64", 8)} and sum(len(c.axes) for c in small) == 2
    assert {c.kind for c, _ in found} == {"all_reduce", "all_to_all"}
    assert 4 <= sum(n for (c, _), n in found.items() if c.kind == "all_to_all") <= 8


def test_a_small_field_is_rather_gathered_along_an_axis_and_cut():
    """8 kB: only latency counts, and on this machine that of an all-gather is half an all-to-all's."""
    _, transform = field("h100x8", SMALL)
    verify_emitted(transform, transform.lowered())
    assert kinds(transform) == {("all_gather", ("row",)): 1, ("all_gather", ("col",)): 1}


def test_a_pencil_fft_is_numpys():
    _, transform = field(MACHINES["gathers are dear"], SMALL)
    assert kinds(transform) == {("all_to_all", ("row",)): 1, ("all_to_all", ("col",)): 1}
    white = np.random.default_rng(6).normal(size=SMALL).astype(np.float32)
    found = transform.run({"white": white})["modes"]
    np.testing.assert_allclose(found, np.fft.rfftn(white.astype(float)), rtol=1e-5, atol=2e-5)


# --- loops ---

X, TIME = Dim("x", 9), Dim("time", 5)


def recurrence():
    """h ← tanh(a h + y_t) + 0.1 Σ_x h along time, with its gradient: sums over x in every step, forward and back."""
    with Builder("recurrence", "f32") as b:
        a, h0 = (b.input(n, TensorType((X,), "f32"), "latent") for n in ("a", "h0"))
        y = b.input("y", TensorType((X, TIME), "f32"), "data")

        def body(carries, slices, shared):
            (h,), (y,), (a,) = carries, slices, shared
            h = emit(Op.table["tanh"](), a * h + y) + 0.1 * emit(Sum(("x",)), h)
            return [h], []

        (last,), _ = scan("time", body, [h0], [y], [a])
        program = b.finish({"log_density": emit(Sum(("x",)), last * last)})
    return simplify(differentiate(program, ["a", "h0"]))


def test_collectives_in_a_loop_are_priced_once_a_trip():
    program = recurrence()
    request = PlanRequest.make("row=4,col=2", machine=MACHINES["talk is cheap"], pins=("a:x=row+col", "h0:x=row+col"))
    executable = Executable(program, request.solve(program), device_mesh(request.mesh))
    lowered = executable.lowered()
    found = verify_emitted(executable, lowered)
    assert {trips for _, trips in found} == {1, 5}
    assert sum(n for (_, trips), n in found.items() if trips == 5) == 2, "one sum forward, one back"
    combined = verify_optimised(lowered, request.mesh, found)
    text = "; ".join(f"{n} x {trips} trips x {c}" for (c, trips), n in found.items())
    print(f"\n{text}; {combined} combined")
    assert re.search("stablehlo.while", lowered.as_text())
