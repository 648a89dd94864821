"""`meshbayes run`: from model and data to a run folder, a table and a report."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ir.errors import Diagnostic

from . import read
from .devices import provide

if TYPE_CHECKING:
    from ..bind import Bound
    from ..infer.options import Common
    from ..io.draws import Draws
    from ..posterior import Posterior
    from ..request import PlanRequest
    from ..result import Result

ROWS = 40
"""Rows of the table on the terminal; the report has all."""


def execute(args: Any) -> int:
    """Runs, and returns 0, or 130 where the run was interrupted and its draws so far are kept."""
    from .. import folder as run_folder

    request = read.request(args)
    virtual = provide(request.mesh.devices)
    model = read.model(args.model)
    written = read.program(args, model)
    seed = read.whole_number(args.seed, "--seed", 0, 0)
    out = run_folder.check_free(args.out) if args.out is not None else None
    init = _init(args.init)
    posterior = _posterior(args, read.bound(args, model), request)
    options, reasons = read.resolved(written, posterior)
    _check(args, posterior, options)
    if virtual and not args.quiet:
        print(f"note: {request.mesh.devices} virtual devices where JAX runs on the CPU", file=sys.stderr)
    if reasons and not args.quiet:
        print(f"note: {options} is run: {reasons}", file=sys.stderr)
    existed = out is not None and out.exists()
    folder = run_folder.make_folder(out, model.name)
    log = run_folder.Log(folder)
    try:
        facts = {"command": ["meshbayes", *args.argv], "sources": args.data, "init": args.init or "prior"}
        run_folder.write_inputs(folder, posterior, options, seed, keep=read.names(args.keep), **facts)
        log.event("start", program=str(options), chains=options.chains, warmup=options.warmup, draws=options.draws)
        result = _sample(args, posterior, options, seed, init, folder, log)
        if result.posterior is not posterior:  # it was planned again
            run_folder.write_inputs(folder, result.posterior, options, seed, keep=read.names(args.keep), **facts)
    except BaseException as error:
        if _draws_in(folder):
            log.event("failed", error=str(error) or "interrupted")
            print(f"the draws so far are in {folder}", file=sys.stderr)
        else:
            run_folder.discard(folder, keep=existed)
        raise
    if not result.draws.num_draws:
        run_folder.discard(folder, keep=existed)
        print("interrupted during warm-up, before the first draw: nothing is kept", file=sys.stderr)
        return 130
    facts = {"draws": result.draws.num_draws, "seconds": result.draws.attrs.get("seconds")}
    log.event("end", interrupted=result.interrupted, **facts)
    return _tell(args, result, folder)


def _posterior(args: Any, bound: Bound, request: PlanRequest) -> Posterior:
    """The posterior, which must have something to infer."""
    from ..posterior import Posterior

    posterior = Posterior(bound, request)
    if not posterior.latents:
        hint = "a quantity with ~ that is not declared as data is latent"
        raise Diagnostic("type", "the model has no latent quantity to infer", where=args.model, hint=hint)
    return posterior


def _check(args: Any, posterior: Posterior, options: Common) -> None:
    """What the user asked for that cannot be is told here, before anything is written."""
    from ..infer.room import copies

    posterior.gradient_program(options.chains, copies(posterior, options, read.names(args.keep)))


def _sample(args: Any, posterior: Posterior, options: Common, seed: int, init: Any, folder: Path, log: Any) -> Result:
    return posterior.run(
        options,
        seed=seed,
        init=init,
        keep=read.names(args.keep),
        out=folder,
        progress=False if args.quiet else None,
        predictive=not args.no_predictive,
        watch=log.block,
    )


def _tell(args: Any, result: Result, folder: Path) -> int:
    from ..folder import REPORT
    from ..report.html import write_report

    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    table(result.draws, rows=0 if args.quiet else ROWS)
    print(f"report: {write_report(folder, folder / REPORT)}")
    if result.interrupted:
        print(f"interrupted: the first {result.draws.num_draws} draws of each chain are kept", file=sys.stderr)
        return 130
    return 0


def table(draws: Draws, rows: int = ROWS) -> None:
    """The summary table and the warnings, on the terminal; no table with `rows` 0."""
    from rich.console import Console

    from ..report.summary import summarize
    from ..report.warnings import find_warnings

    summary = summarize(draws)
    if rows:
        console = Console() if sys.stdout.isatty() else Console(width=120)
        console.print(dataclasses.replace(summary, rows=summary.rows[:rows]).to_rich())
        if len(summary.rows) > rows:
            print(f"… and {len(summary.rows) - rows} more, in the report")
    for finding in find_warnings(draws, summary):
        print(finding)


def _init(text: str | None) -> Any:
    """Where chains start: the word, or the values of a file."""
    from ..io.read import read_data

    if text is None or text in ("prior", "uniform"):
        return text or "prior"
    if "." not in text:
        hint = "prior, uniform, or a data file with values of latents, as start.json"
        raise Diagnostic("argument", f"'{text}' says nothing of where chains start", where="--init", hint=hint)
    values: Mapping[str, Any] = read_data(text)
    return {name: datum.value for name, datum in values.items()}


def _draws_in(folder: Path) -> int:
    """Draws of each chain that the folder's store holds."""
    from ..io.store import STORE, open_run

    return open_run(folder).num_draws if (folder / STORE).exists() else 0
