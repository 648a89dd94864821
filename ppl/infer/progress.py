"""The progress bar of a run: rich on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from .options import Common


class Progress:
    """Shows how far a run is, its divergences and tree depths. `shown` None: only where stderr is a terminal."""

    def __init__(self, shown: bool | None, program: Common):
        *first, last = program.stages()
        self.chains, self.last_stage = program.chains, last
        self.before: dict[Common, int] = {}  # transitions of all earlier stages
        total = 0
        for stage in first:
            self.before[stage] = total
            total += stage.warmup
        self.before[last] = total
        self.total = total + last.warmup + last.draws
        self.terminal = sys.stderr.isatty()
        self.shown = self.terminal if shown is None else shown
        self.divergent, self.last = 0, time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self.shown and self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
            )  # fmt: skip
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self.total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, what: str) -> None:
        """Names the stage the run is in."""
        if self._bar is not None:
            self._bar.update(self._task, description=what)
        elif self.shown:
            print(f"{what} …", file=sys.stderr, flush=True)

    def advance(self, stage: Common, done: int, info: Any) -> None:
        """After a block: `done` transitions a chain of the stage, of which `info` has the newest."""
        sampling = stage == self.last_stage and done > stage.warmup
        if sampling:
            self.divergent += int(np.sum(info.divergent))
        phase = "sampling" if sampling else "warm-up" if stage == self.last_stage else stage.name
        done += self.before[stage]
        note = f"{self.chains} chains, {np.mean(info.leapfrogs):.0f} gradients a draw, {self.divergent} divergent"
        if self._bar is not None:
            self._bar.update(self._task, description=phase, completed=done, note=note)
        elif self.shown and (time.monotonic() - self.last > 10 or done == self.total):
            self.last = time.monotonic()
            print(f"{phase}: {done} of {self.total} ({note})", file=sys.stderr, flush=True)
