"""The progress bar of a run: rich on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from .options import Common


@dataclass(frozen=True)
class Stage:
    """One stage of a run: its options, the transitions of all stages before it, and whether its draws are kept."""

    options: Common
    before: int
    last: bool

    @property
    def total(self) -> int:
        """The stage's transitions, if it does not finish early."""
        return self.options.warmup + (self.options.draws if self.last else 0)

    def phase(self, done: int) -> str:
        """What the stage's transition number `done` is for."""
        return "sampling" if self.last and done > self.options.warmup else "warm-up"


def stages_of(program: Common) -> list[Stage]:
    """The stages of a program in their order."""
    found, before = [], 0
    *first, last = program.stages()
    for options in first:
        found.append(Stage(options, before, False))
        before += found[-1].total
    return [*found, Stage(last, before, True)]


class Progress:
    """Shows how far a run is, its divergences and tree depths. `shown` None: only where stderr is a terminal."""

    def __init__(self, shown: bool | None, program: Common):
        stages = stages_of(program)
        self.chains, self.stage, self.several = program.chains, stages[0], len(stages) > 1
        self.total = stages[-1].before + stages[-1].total
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

    def begin(self, stage: Stage) -> None:
        """A stage begins."""
        self.stage = stage

    def advance(self, done: int, info: Any) -> None:
        """After a block: `done` transitions a chain of the stage, of which `info` has the newest."""
        phase = self.stage.phase(done)
        if phase == "sampling":
            self.divergent += int(np.sum(info.divergent))
        phase = f"{self.stage.options.name} {phase}" if self.several else phase
        done += self.stage.before
        note = f"{self.chains} chains, {np.mean(info.leapfrogs):.0f} gradients a draw, {self.divergent} divergent"
        if self._bar is not None:
            self._bar.update(self._task, description=phase, completed=done, note=note)
        elif self.shown and (time.monotonic() - self.last > 10 or done == self.total):
            self.last = time.monotonic()
            print(f"{phase}: {done} of {self.total} ({note})", file=sys.stderr, flush=True)
