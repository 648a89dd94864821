"""The questions that `meshbayes plan` answers instead of printing the plan: --explain, --where and --diff."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import planner
from ir.errors import Diagnostic

from ..bind import Bound
from ..request import PlannedModel
from . import read

MEMORY = "memory"
"""What --explain takes besides the names of values; a value of this name is `%memory`."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer in words, and the same as plain data, made when it is wanted."""

    text: Callable[[], str]
    json: Callable[[], Any]


def check_questions(args: Any) -> None:
    """One question at a time."""
    questions = {"--explain": args.explain, "--where": args.where, "--diff": args.diff}
    questions["--compile-only"] = args.compile_only
    asked = [option for option, given in questions.items() if given]
    if len(asked) > 1:
        hint = f"leave out {' and '.join(asked[1:])}, and ask again for it"
        raise Diagnostic("argument", f"{' and '.join(asked)} are two questions", where=asked[1], hint=hint)


def ask(args: Any, planned: PlannedModel, bound: Bound) -> Answer | None:
    """What the command line asks of the plan; None where it only wants the plan."""
    if args.diff is not None:
        return _diff(args, planned, bound)
    if args.where:
        return Answer(lambda: str(planned.where()), lambda: planned.where().as_json())
    if args.explain == MEMORY:
        return Answer(lambda: str(planned.memory_price()), lambda: planned.memory_price().as_json())
    if args.explain is not None:
        name = args.explain
        return Answer(lambda: planned.explain(name), lambda: planner.alternatives_json(planned.alternatives(name)))
    return None


def _diff(args: Any, planned: PlannedModel, bound: Bound) -> Answer:
    """The plans of two files. What a file keeps holds for its plan, but only its own orders are told as such."""
    plans, machines = [], []
    for file, request in zip(args.diff, read.requests_of(args, args.diff), strict=True):
        one = PlannedModel(bound, dataclasses.replace(request, copies=planned.request.copies), planned.chains)
        orders = (*planner.read_plan_file(file).pins, *read.orders(args))
        plans.append(dataclasses.replace(one.plan, pins=tuple(map(str, orders))))
        machines.append(request.machine)
    found = planner.diff(planned.program, plans[0], plans[1], machines=(machines[0], machines[1]))
    labels = args.diff[0], args.diff[1]
    return Answer(lambda: planner.format_diff(found, labels), found.as_json)
