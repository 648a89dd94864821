"""Proofs that anybody can check: what a plan costs and holds, and that no plan is faster.

`certify` writes down what the search kept of its proof; `check_plan` builds the networks of the program anew and lets
`solve/check.py`, which shares no code with the search, work the bound out again. The plan's own price, bytes and
legality come from walking what it performs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ir.errors import Diagnostic
from ir.graph import Program
from ir.plan import Plan
from ir.verify import verify_plan

from ..cost import evaluate
from ..memory import peak_bytes
from ..problem import Option, Problem
from ..solve.certificate import certify as certify_network
from ..solve.check import Proof, Rejected, check
from ..solve.search import Found
from .question import problem_of


def certify(program: Program, plan: Plan, **arguments: Any) -> Plan:
    """The plan with its certificate: plain data, `certificate.as_json` writes it.

    Takes what `make_plan` took (but mesh and preferences). Where memory binds it may prove less than the search did.
    """
    problem = problem_of(program, plan.mesh, **arguments)
    cost = sum(evaluate(program, plan, problem.costs)[:2])
    kept = plan.certificate.get("kept", {}) if isinstance(plan.certificate, dict) else {}
    parts = []
    for i, option in enumerate(problem.options):
        found = Found(np.zeros(0, int), cost, cost, "", kept[i]) if i in kept else None
        part = {**certify_network(option.network, found, cost), "states": None}
        if problem.memory and not kept and check(option.network, part).bound < cost * (1 - 1e-8):
            network = _widest(problem, option).network
            part = certify_network(network, None, cost, problem.memory)
        parts.append(part)
    return replace(plan, certificate={"options": parts})


def check_plan(program: Program, plan: Plan, certificate: Mapping[str, Any] | None = None, **arguments: Any) -> Proof:
    """What a plan costs [s], what it holds at its peak [bytes] and the least that any plan could cost, proven.

    Takes what `make_plan` took (but mesh and preferences); the certificate is the plan's own if none is given. Raises
    `Diagnostic` where the plan breaks a pin or the budget or cannot be, or where the certificate is none of it.
    """
    problem = problem_of(program, plan.mesh, **arguments)
    verify_plan(program, plan)
    _check_layouts(plan, problem)
    cost, peak = sum(evaluate(program, plan, problem.costs)[:2]), peak_bytes(program, plan)
    if problem.memory and peak > problem.memory:
        raise _refused(f"the plan holds {peak:,.0f} B, the budget is {problem.memory:,.0f} B", "make the plan anew")
    data = certificate if certificate is not None else plan.certificate
    parts = data.get("options") if isinstance(data, Mapping) else None
    if parts is None or len(parts) != len(problem.options):
        raise _refused("the plan has no certificate for this question", "make one with planner.certify")
    bound = math.inf
    try:
        for option, part in zip(problem.options, parts, strict=True):
            network = _widest(problem, option).network if part["multipliers"] else option.network
            bound = min(bound, check(network, part, problem.memory if part["multipliers"] else 0.0).bound)
    except (Rejected, KeyError, IndexError, TypeError, ValueError) as error:
        raise _refused(f"the certificate does not fit the question: {error}", "make one with planner.certify") from None
    return Proof(cost, min(bound, cost), peak)


def _widest(problem: Problem, option: Option) -> Option:
    """The option with all that a plan within the budget may do: recomputing included."""
    return problem.with_second(option) or option


def _check_layouts(plan: Plan, problem: Problem) -> None:
    """Every value lies as pins, fixed layouts and the rule for chains allow, under one way to split the chains."""
    for option in problem.options:
        stars = [s for s in option.network.stars if s.value.name in plan.layouts]
        if all(plan.layouts[s.value.name] in {s.layouts[label] for label in s.labels} for s in stars):
            return
    raise _refused("the plan does not keep to the pins and fixed layouts of the question", "make the plan anew")


def _refused(message: str, hint: str) -> Diagnostic:
    return Diagnostic("plan", message, where="certificate", hint=hint)
