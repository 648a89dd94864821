"""`meshbayes plan`: where each tensor lives on a mesh, what that costs, and why. Needs no device and no data."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

import planner

from ..bind import Bound
from ..infer.room import copies
from ..posterior import Posterior
from ..request import PlannedModel
from . import read
from .ask import Answer, ask, check_questions
from .devices import provide
from .graph import check_writable, save


def execute(args: Any) -> int:
    """Prints the plan, the answer to a question about it, or JSON; writes a plan file where asked to."""
    check_questions(args)
    check_writable(args.write, "--write")
    for path, option, _ in _pictures(args):
        check_writable(path, option)
    model = read.model(args.model)
    request, devices = read.request(args), read.devices(args)
    if args.compile_only:
        _make_room(devices or request.mesh.devices, "--mesh" if devices is None else "--devices")
    written = read.program(args, model)
    bound = read.outlined(args, model)
    posterior = Posterior(bound, request)
    sampler, _ = read.resolved(written, posterior)
    chains, request = sampler.chains, dataclasses.replace(request, copies=copies(posterior, sampler))
    if devices is not None:
        planned = PlannedModel.searched(bound, request, devices, chains)
    else:
        planned = PlannedModel(bound, request, chains)
    compiled = _compiled(planned) if args.compile_only else None
    if (answer := _asked(args, planned, bound)) is not None:
        print(json.dumps(answer.json(), indent=1) if args.json else answer.text())
    elif args.json:
        print(json.dumps({**planned.json(), **({"compiled": compiled.json()} if compiled else {})}, indent=1))
    else:
        if sys.stdout.isatty():
            planned.show(everything=args.all)
        else:
            print(planned)
        if compiled is not None:
            print(compiled)
    if args.write is not None:
        save(args.write, planned.text(), "--write")
        print(f"wrote {args.write}: edit it and give it back with --plan {args.write}", file=sys.stderr)
    for path, option, text in _pictures(args):
        save(path, text(planned), option)
        print(f"wrote {path}", file=sys.stderr)
    if planned.request.mesh.devices == 1 and args.diff is None:
        print("note: planned for one device; --mesh row=4,col=2 plans for more", file=sys.stderr)
    return 0


def _asked(args: Any, planned: PlannedModel, bound: Bound) -> Answer | None:
    """The question of the command line, the plan being made first: with --json also why there is none."""
    try:
        if args.diff is None:
            _ = planned.plan
        return ask(args, planned, bound)
    except (planner.Conflict, planner.TooSmall) as found:
        if args.json:
            print(json.dumps({"error": found.message, **found.as_json()}, indent=1))
        raise


def _pictures(args: Any) -> list[tuple[str, str, Callable[[PlannedModel], str]]]:
    """The pictures that are asked for: file, option, and how its text is made."""
    known = {"html": PlannedModel.page, "dot": PlannedModel.dot, "mermaid": PlannedModel.mermaid}
    return [(path, f"--{name}", text) for name, text in known.items() if (path := getattr(args, name)) is not None]


def _make_room(count: int, option: str) -> None:
    """Virtual devices, before JAX counts its own."""
    from ..aot import check_devices

    check_devices(count, option)
    provide(count)


def _compiled(planned: PlannedModel) -> Any:
    from ..aot import compile_only

    return compile_only(planned.program, planned.plan)
