"""`meshbayes predict`: draws from the prior of a model and of what it would observe, as a file."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ir.errors import Diagnostic

from . import read
from .devices import provide


def execute(args: Any) -> int:
    """Writes the draws, and says what they are of."""
    from ..infer.prior import PriorDraws
    from ..io.write import check_target, writing
    from ..posterior import Posterior

    if args.out is None:
        hint = "for example --out draw.npz, or draws.zarr"
        raise Diagnostic("argument", "no file to write to is given", where="--out", hint=hint)
    path = check_target(args.out, "--out")
    request = read.request(args)
    virtual = provide(request.mesh.devices)
    model = read.model(args.model)
    seed = read.whole_number(args.seed, "--seed", 0, 0)
    draws = None if args.draws is None else read.whole_number(args.draws, "--draws", 1, 1)
    prior = PriorDraws(Posterior(read.unobserved(args, model), request))
    if virtual and not args.quiet:
        print(f"note: {request.mesh.devices} virtual devices where JAX runs on the CPU", file=sys.stderr)
    types = prior.types
    with writing(path, types, draws, prior.posterior.bound.coords) as file:
        for i, values in enumerate(prior.draw(seed, draws or 1)):
            file.write(i, values)
            _tell(prior.notes, i, values)
    if not args.quiet:
        for name, (dims, shape, _) in types.items():
            sizes = ", ".join(f"{d}={n}" for d, n in zip(dims, shape, strict=True))
            print(f"  {name}[{sizes}]" if dims else f"  {name}")
        print(f"wrote {path}: {draws or 1} draw{'s' * ((draws or 1) > 1)}")
    return 0


def _tell(notes: list[str], i: int, values: dict[str, np.ndarray]) -> None:
    """Says what is new to be told, and of a draw what in it is no number."""
    while notes:
        print(f"note: {notes.pop(0)}", file=sys.stderr)
    bad = [n for n, x in values.items() if x.dtype.kind in "fc" and not np.isfinite(x).all()]
    if bad:
        print(f"warning: draw {i}: {', '.join(bad)} not finite", file=sys.stderr)
