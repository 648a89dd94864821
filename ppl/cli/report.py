"""`meshbayes report`: the report of a run folder, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ir.errors import Diagnostic


def execute(args: Any) -> int:
    """Writes the report and says where it is; the run may still be going on."""
    from ..io.store import STORE
    from ..report.html import write_report
    from .graph import check_writable
    from .run import table

    check_writable(args.out, "--out")
    folder = Path(args.dir)
    if not (folder / STORE).exists():
        runs = sorted(str(p.parent) for p in folder.glob(f"*/{STORE}")) if folder.is_dir() else []
        what = "there are no draws in this folder" if folder.is_dir() else "there is no such folder"
        hint = f"it has runs in {', '.join(runs[:5])}" if runs else "give a folder that meshbayes run made"
        raise Diagnostic("argument", what, where=str(folder), hint=hint)
    from ..io.store import open_run

    draws = open_run(folder)
    if not draws.num_draws:
        hint = "a run writes its draws from the end of warm-up on: wait for them, or look at log.jsonl"
        raise Diagnostic("argument", "this run has no draws yet", where=str(folder), hint=hint)
    path = write_report(folder, args.out or folder / "report.html")
    table(draws)
    print(f"report: {path}")
    return 0
