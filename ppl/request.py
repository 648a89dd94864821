"""What a user asks of the planner, and the answer: a plan that can be printed, questioned and overridden."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import planner
from ir.errors import Diagnostic
from ir.graph import Program
from ir.layout import Layout
from ir.mesh import Mesh
from ir.native import mode
from ir.plan import Plan
from ir.verify import verify_plan

from .bind import Bound


@dataclass(frozen=True)
class PlanRequest:
    """The mesh, the machine, the memory budget per device [bytes] and the orders under which plans are made.

    `pins` holds all orders: pins, bans and preferences (see `planner.orders`), the preferences by their weight.
    `copies` counts the vectors like the latents that a sampler holds beside the planned program (`Common.copies`).
    """

    mesh: Mesh = field(default_factory=Mesh)
    machine: Any = None
    memory: float | None = None
    pins: tuple[Any, ...] = ()
    copies: float = 0.0
    recompute: tuple[planner.Again, ...] | None = None
    """What is computed again, by a plan file's word; None leaves it to the planner."""

    @classmethod
    def make(
        cls,
        mesh: str | int | Mesh | None = None,
        *,
        machine: Any = None,
        memory: float | None = None,
        pins: Sequence[planner.Order | str] = (),
        file: str | Path | None = None,
        keep: bool = False,
    ) -> PlanRequest:
        """From what a user types; a plan file gives mesh and orders, and explicit arguments come on top of it.

        With `keep` all that the file keeps is an order too: the same plan again.
        """
        found: list[Any] = []
        recompute = None
        if file is not None:
            read = planner.read_plan_file(file, keep)
            found += read.pins
            mesh = mesh if mesh is not None else read.mesh
            machine = machine if machine is not None else read.machine
            memory = memory if memory is not None else read.memory
            recompute = read.recompute
        found += map(planner.parse_order, pins)
        if not isinstance(mesh, Mesh):
            mesh = Mesh.parse(str(mesh)) if mesh is not None else Mesh()
        if machine is None or isinstance(machine, str):
            machine = planner.Machine.load(machine or "laptop")
        machine = dataclasses.replace(machine, collectives=mode())
        return cls(mesh, machine, memory, tuple(found), recompute=recompute)

    def without_chains(self) -> PlanRequest:
        """The same for a program of one chain, without a dim for it."""
        return dataclasses.replace(self, pins=planner.without_chains(self.pins))

    def solve(
        self,
        program: Program,
        fixed: Mapping[str, Layout] | None = None,
        *,
        pins: bool = True,
        explain: bool = True,
    ) -> Plan:
        """The best plan of a program, verified; `explain` as in `planner.make_plan`."""
        arguments = self.arguments if pins else {**self.arguments, "pins": ()}
        plan = planner.make_plan(program, self.mesh, fixed=fixed or {}, explain=explain, **arguments)
        verify_plan(program, plan)
        return plan

    @property
    def arguments(self) -> dict[str, Any]:
        """What is asked, pins included, as `planner.make_plan` and all questions take it."""
        found = {name: getattr(self, name) for name in ("machine", "memory", "pins", "copies")}
        return {**found, "recompute": True if self.recompute is None else self.recompute}

    def search(self, program: Program, devices: int, explain: bool = True) -> planner.MeshSearch:
        """The best plan of a program on any shape of a number of devices, verified."""
        found = planner.search_mesh(program, devices, explain=explain, **self.arguments)
        verify_plan(program, found.plan)
        return found

    def fastest(self, programs: Sequence[Program]) -> tuple[Program, Plan]:
        """The best plan of whichever of the programs is fastest, with that program."""
        return planner.fastest(programs, lambda program, explain: self.solve(program, explain=explain))


@dataclass(frozen=True, eq=False)
class PlannedModel:
    """The plan of a bound model's gradient over `chains` chains."""

    bound: Bound
    request: PlanRequest
    chains: int = 4
    search: planner.MeshSearch | None = None
    """The search that found the mesh of `request`, where only a number of devices was given."""
    searched_program: Program | None = None
    """What that search planned."""

    @classmethod
    def searched(cls, bound: Bound, request: PlanRequest, devices: int, chains: int = 4) -> PlannedModel:
        """The best plan on any shape of a number of devices; the mesh of `request` is the best one's."""
        asked = cls(bound, request, chains)
        program, found = planner.fastest(asked.programs, lambda p, explain: request.search(p, devices, explain))
        return cls(bound, dataclasses.replace(request, mesh=found.plan.mesh), chains, found, program)

    @cached_property
    def programs(self) -> list[Program]:
        """The gradient's program by the choices that the plan has to make: mostly one (see `pipeline.gradients`)."""
        from .pipeline import gradients

        return gradients(self.bound, self.chains)

    @property
    def program(self) -> Program:
        return self.programs[0] if len(self.programs) == 1 else self._chosen[0]

    @property
    def plan(self) -> Plan:
        return self._chosen[1]

    @cached_property
    def _chosen(self) -> tuple[Program, Plan]:
        if self.search is not None and self.searched_program is not None:
            return self.searched_program, self.search.plan
        return self.request.fastest(self.programs)

    def pin(self, value: str, layout: str | None = None, /, **split: str) -> PlannedModel:
        """The plan with a value's layout fixed: `pin("delta", x="row")` or `pin("delta", "whole")`."""
        return self._with(planner.parse_pin(_words(value, layout, split)))

    def ban(self, value: str, layout: str | None = None, /, **split: str) -> PlannedModel:
        """The plan in which a value does not lie so: `ban("delta", x="col")` or `ban("delta", "whole")`."""
        return self._with(planner.parse_ban(_words(value, layout, split)))

    def prefer(self, value: str, layout: str | None = None, /, *, within: float = 0.05, **split: str) -> PlannedModel:
        """The plan in which a value lies so if the plan then takes at most `within` (a fraction) longer.

        Of several preferences the earlier ones weigh more; the printed plan says which were met and what they cost.
        """
        wish = planner.parse_preference(_words(value, layout, split))
        return self._with(dataclasses.replace(wish, within=planner.read_margin(within, "within")))

    def _with(self, order: planner.Order) -> PlannedModel:
        pins = (*self.request.pins, order)
        return PlannedModel(self.bound, dataclasses.replace(self.request, pins=pins), self.chains)

    def explain(self, value: str) -> str:
        """The layouts that a value could have, with what each would cost more, everything else chosen anew."""
        return planner.explain(self.program, self.request.mesh, value, **self.request.arguments)

    def alternatives(self, value: str) -> list[planner.Alternative]:
        """`explain` as data."""
        return planner.alternatives(self.program, self.request.mesh, value, **self.request.arguments)

    def where(self) -> planner.Where:
        """Where the plan's time, bytes and memory go; it can be printed."""
        return planner.where(self.program, self.plan, self.request.machine)

    def memory_price(self) -> planner.MemoryPrice:
        """What more memory would save, and at which budgets the plan changes; it can be printed."""
        return planner.memory_price(self.program, self.request.mesh, **self.request.arguments)

    def diff(self, other: PlannedModel) -> planner.Difference:
        """How another plan of the same model differs from this one; it can be printed."""
        machines = self.request.machine, other.request.machine
        return planner.diff(self.program, self.plan, other.plan, machines=machines)

    def write(self, path: str | Path) -> None:
        """Writes the plan as a TOML file that a person can edit and `ppl.plan(file=…)` reads."""
        try:
            planner.write_whole(path, self.text())
        except OSError as error:
            hint = "give a file in a folder that exists and that you may write to"
            message = f"the plan file cannot be written: {error.strerror}"
            raise Diagnostic("plan", message, where=str(path), hint=hint) from None

    def text(self) -> str:
        """The plan as a plan file: a person can edit it, and `ppl.plan(file=…)` reads it."""
        return planner.write_plan(self.plan, self.program, memory=self.request.memory)

    def page(self) -> str:
        """The plan as one HTML page to explore: graph, memory, costs, values. It loads nothing from outside."""
        return planner.html_page(self.program, self.plan, machine=self.request.machine, prices=self.prices())

    def html(self, path: str | Path) -> Path:
        """Writes `page` to a file."""
        machine = self.request.machine
        return planner.write_html(self.program, self.plan, path, machine=machine, prices=self.prices())

    def prices(self) -> planner.Prices | None:
        """What every value's other layouts would cost, the memory budget left aside; None where that is not known."""
        r = self.request
        return planner.prices(self.program, self.plan, machine=r.machine, pins=r.pins)

    def dot(self) -> str:
        """The plan's graph in Graphviz's language."""
        return planner.dot_text(self.program, self.plan, machine=self.request.machine)

    def mermaid(self) -> str:
        """The plan's graph as a Mermaid flowchart."""
        return planner.mermaid_text(self.program, self.plan, machine=self.request.machine)

    def show(self, *, everything: bool = False) -> None:
        """Prints the plan for a terminal: in colour, fitted to its width, unnamed values only with `everything`."""
        if self.search is not None:
            print(f"{self.search}\n")
        planner.print_plan(self.program, self.plan, machine=self.request.machine, everything=everything)

    def json(self) -> dict[str, Any]:
        searched = {"shapes": self.search.json()} if self.search is not None else {}
        return {**planner.as_json(self.program, self.plan), **searched}

    def __str__(self) -> str:
        shapes = f"{self.search}\n" if self.search is not None else ""
        return shapes + planner.format_plan(self.program, self.plan)


def _words(value: str, layout: str | None, split: Mapping[str, str]) -> str:
    """A pin's text."""
    return f"{value}:{layout or ','.join(f'{d}={a}' for d, a in split.items())}"
