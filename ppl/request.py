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
from ir.plan import Plan
from ir.verify import verify_plan

from .bind import Bound


@dataclass(frozen=True)
class PlanRequest:
    """The mesh, the machine, the memory budget per device [bytes] and the pins under which plans are made."""

    mesh: Mesh = field(default_factory=Mesh)
    machine: Any = None
    memory: float | None = None
    pins: tuple[Any, ...] = ()

    @classmethod
    def make(
        cls,
        mesh: str | int | Mesh | None = None,
        *,
        machine: Any = None,
        memory: float | None = None,
        pins: Sequence[str] = (),
        file: str | Path | None = None,
    ) -> PlanRequest:
        """From what a user types; a plan file gives mesh and pins, and explicit arguments come on top of it."""
        found: list[Any] = []
        if file is not None:
            read = planner.read_plan_file(file)
            found += read.pins
            mesh = mesh if mesh is not None else read.mesh
            machine = machine if machine is not None else read.machine
        found += [planner.parse_pin(p) if isinstance(p, str) else p for p in pins]
        if not isinstance(mesh, Mesh):
            mesh = Mesh.parse(str(mesh)) if mesh is not None else Mesh()
        if machine is None or isinstance(machine, str):
            machine = planner.Machine.load(machine or "laptop")
        return cls(mesh, machine, memory, tuple(found))

    def solve(self, program: Program, fixed: Mapping[str, Layout] | None = None, *, pins: bool = True) -> Plan:
        """The best plan of a program, verified."""
        plan = planner.make_plan(
            program,
            self.mesh,
            machine=self.machine,
            memory=self.memory,
            pins=self.pins if pins else (),
            fixed=fixed or {},
        )
        verify_plan(program, plan)
        return plan


@dataclass(frozen=True, eq=False)
class PlannedModel:
    """The plan of a bound model's gradient over `chains` chains."""

    bound: Bound
    request: PlanRequest
    chains: int = 4

    @cached_property
    def program(self) -> Program:
        from .pipeline import program_at

        return program_at(self.bound, "batched", self.chains)

    @cached_property
    def plan(self) -> Plan:
        return self.request.solve(self.program)

    def pin(self, value: str, layout: str | None = None, /, **split: str) -> PlannedModel:
        """The plan with a value's layout fixed: `pin("delta", x="row")` or `pin("delta", "whole")`."""
        text = f"{value}:{layout or ','.join(f'{d}={a}' for d, a in split.items())}"
        pins = (*self.request.pins, planner.parse_pin(text))
        return PlannedModel(self.bound, dataclasses.replace(self.request, pins=pins), self.chains)

    def explain(self, value: str) -> str:
        """The layouts that a value could have, with what each would cost more, everything else chosen anew."""
        return planner.explain(self.program, self.request.mesh, value, request=self.request)

    def write(self, path: str | Path) -> None:
        """Writes the plan as a TOML file that a person can edit and `ppl.plan(file=…)` reads."""
        try:
            Path(path).write_text(planner.write_plan(self.plan, self.program), encoding="utf-8")
        except OSError as error:
            raise Diagnostic("plan", f"the plan file cannot be written: {error}", where=str(path)) from None

    def json(self) -> dict[str, Any]:
        return planner.as_json(self.program, self.plan)

    def __str__(self) -> str:
        return planner.format_plan(self.program, self.plan)
