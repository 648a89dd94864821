"""The whole pipeline on one screen: model → program → passes → plan → SPMD program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ir.dims import CHAIN, Dim
from ir.errors import Diagnostic
from ir.graph import Program
from ir.mesh import Mesh
from ir.passes.align_transforms import align_transforms
from ir.passes.batch_over import batch_over
from ir.passes.checkpoint import CHOICES, Choice, checkpoint, is_open, keep_all
from ir.passes.differentiate import differentiate
from ir.passes.eliminate_dead import eliminate_dead
from ir.passes.expand import informed, log_density
from ir.passes.hoist import hoist
from ir.passes.information import check_informed, information
from ir.passes.recentre import recentre
from ir.passes.reciprocals import take_reciprocals
from ir.passes.simplify import simplify
from ir.verify import verify

from .bind import Bound, bind, outline
from .limits import names_of
from .request import PlannedModel, PlanRequest
from .trace.model import Model

if TYPE_CHECKING:
    from .infer.options import Common
    from .posterior import Posterior

STAGES = ("model", "recentred", "density", "hoisted", "prologue", "gradient", "batched")
"""The stages that `show` may ask for, in the order of the pipeline."""

Show = Callable[[str, Program], None]


def stages(bound: Bound, chains: int | None = None, choice: Choice = keep_all) -> Iterator[tuple[str, Program]]:
    """Every stage of a bound model's programs, by name; `batched` only when a number of chains is given.

    `choice` says how many states scans keep for the gradient, where the model leaves that open.
    """
    yield "model", bound.program
    sites = recentre(bound.program)
    yield "recentred", sites
    everything = log_density(sites)
    density = simplify(keep(everything, ["log_density", *names_of(everything)]))
    yield "density", density
    prologue, main = hoist(density)
    yield "prologue", prologue
    yield "hoisted", main
    gradient = simplify(differentiate(checkpoint(main, choice), [i.name for i in main.inputs_of("latent")]))
    gradient = simplify(take_reciprocals(align_transforms(gradient)))
    yield "gradient", gradient
    if chains is not None:
        yield "batched", batch(gradient, chains)


def metric_stages(bound: Bound) -> tuple[Program, Program]:
    """(prologue, main) of the products with the Fisher information of a bound model (see `ir.passes.information`)."""
    sites = recentre(bound.program)
    told = simplify(informed(sites))
    names = check_informed(told, sites)
    wanted = [f"{kind}:{name}" for name in names for kind in ("coordinate", "information")]
    prologue, main = hoist(simplify(keep(told, wanted)))
    made = simplify(information(main, names))
    made = keep(made, [n for n, _ in made.outputs if n != "score"])
    return prologue, simplify(take_reciprocals(align_transforms(made)))


def gradients(bound: Bound, chains: int | None = None) -> list[Program]:
    """The gradient's program (over `chains` chains), verified, as often as there are choices that the plan has to make.

    There is one, unless a scan leaves open how many states it keeps (`ir.passes.checkpoint`).
    """
    stage = "gradient" if chains is None else "batched"
    open_ = is_open(bound.program) and is_open(program_at(bound, "hoisted"))
    choices = CHOICES if open_ else CHOICES[:1]
    return [program_at(bound, stage, chains, choice) for choice in choices]


def program_at(bound: Bound, stage: str, chains: int | None = None, choice: Choice = keep_all) -> Program:
    """The program at one stage, verified."""
    for name, program in stages(bound, chains if chains is not None or stage != "batched" else 4, choice):
        if name == stage:
            verify(program)
            return program
    raise KeyError(stage)


def keep(program: Program, outputs: list[str], *, keep_inputs: bool = False) -> Program:
    """The part of a program that the named outputs need; all latents stay, so that their order is one."""
    results = program.results
    ties = {output: to for output, to in program.ties.items() if output in outputs}
    small = Program(program.name, program.inputs, program.nodes, tuple((o, results[o]) for o in outputs), ties)
    small = eliminate_dead(small, keep_inputs=True)
    if keep_inputs:
        return small
    used = {v.name for n in small.nodes for v in n.operands} | {v.name for _, v in small.outputs}
    inputs = tuple(i for i in small.inputs if i.role == "latent" or i.name in used)
    return Program(small.name, inputs, small.nodes, small.outputs, small.ties)


def batch(program: Program, chains: int) -> Program:
    """A program over several chains: every latent and cotangent, and what depends on them, gets the dim `chain`."""
    return batch_over(program, Dim(CHAIN, chains), [i.name for i in program.inputs if i.role in ("latent", "argument")])


def plan(
    model: Model,
    data: Mapping[str, Any] | None = None,
    *,
    mesh: str | Mesh | None = None,
    devices: int | None = None,
    chains: int = 4,
    machine: Any = None,
    memory: float | None = None,
    pins: tuple[str, ...] = (),
    file: str | None = None,
    dtype: str = "float32",
    sizes: Mapping[str, int] | None = None,
    sampler: Common | None = None,
) -> PlannedModel:
    """A plan of the model's gradient on a mesh. It can be printed, questioned (`explain`) and overridden (`pin`).

    Memory counts what `sampler` holds beside the gradient (default: the program that suits the model, with `chains`
    chains).

    Instead of a mesh a number of `devices` may be given: then the mesh is the one with the fastest plan (see
    `planner.search_mesh`). Only sizes matter: without `data`, dims that have no size in the model need one in `sizes`.
    """
    if mesh is not None and devices is not None:
        hint = "leave out the mesh to have its shape searched, or the number of devices to give it"
        raise Diagnostic("argument", "both a mesh and a number of devices are given", where="devices", hint=hint)
    from .infer.choose import resolve
    from .infer.program import auto
    from .infer.room import copies
    from .posterior import Posterior

    request = PlanRequest.make(mesh, machine=machine, memory=memory, pins=pins, file=file)
    bound = outline(model, dtype=dtype, sizes=sizes) if data is None else bind(model, data, dtype=dtype, sizes=sizes)
    posterior = Posterior(bound, request)
    sampler, _ = resolve(sampler or auto(chains=chains), posterior)
    request = dataclasses.replace(request, copies=copies(posterior, sampler))
    if devices is not None:
        return PlannedModel.searched(bound, request, devices, sampler.chains)
    return PlannedModel(bound, request, sampler.chains)


def compile(
    model: Model,
    data: Mapping[str, Any] | None = None,
    *,
    plan: PlannedModel | None = None,
    mesh: str | Mesh = "1",
    dtype: str = "float32",
    sizes: Mapping[str, int] | None = None,
    fixed: Mapping[str, Any] | None = None,
    show: Show | None = None,
) -> Posterior:
    """The posterior of a model given data, laid out by a plan (default: the best one on `mesh`).

    `fixed` holds latents at values, in their own units: `fixed={"sigma": 1.0}` gives the posterior of the others given
    those values. They are not sampled; results have them as constants (`constant_data`).

    `show(stage, program)` is called with every stage on the way.
    """
    from .posterior import Posterior

    bound = bind(model, data, dtype=dtype, sizes=sizes, fixed=fixed)
    if show is not None:
        for name, program in stages(bound):
            show(name, program)
    return Posterior(bound, plan.request if plan is not None else PlanRequest.make(mesh))


__all__ = ["STAGES", "batch", "compile", "gradients", "keep", "plan", "program_at", "stages"]
