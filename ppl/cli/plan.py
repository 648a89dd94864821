"""`meshbayes plan`: where each tensor lives on a mesh, what that costs, and why. Needs no device and no data."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..request import PlannedModel
from . import read
from .graph import check_writable, save


def execute(args: Any) -> int:
    """Prints the plan, or an explanation of one value, or JSON; writes a plan file where asked to."""
    check_writable(args.write, "--write")
    model = read.model(args.model)
    request = read.request(args)
    chains = read.sampler(args, model).chains
    planned = PlannedModel(read.outlined(args, model), request, chains)
    if args.explain is not None:
        print(planned.explain(args.explain))
    elif args.json:
        print(json.dumps(planned.json(), indent=1))
    else:
        print(planned)
    if args.write is not None:
        import planner

        save(args.write, planner.write_plan(planned.plan, planned.program), "--write")
        print(f"wrote {args.write}: edit it and give it back with --plan {args.write}", file=sys.stderr)
    if request.mesh.devices == 1:
        print("note: planned for one device; --mesh row=4,col=2 plans for more", file=sys.stderr)
    return 0
