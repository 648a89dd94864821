"""`meshbayes graph`: the program at a stage of the pipeline, as text or as a picture."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic

from . import read
from .check import ASSUMED
from .options import STAGES


def execute(args: Any) -> int:
    """Prints the program's text, or writes it as SVG or in Graphviz's language."""
    from ir.text import print_program

    from ..pipeline import program_at
    from .picture import dot_text, svg_text

    stage = args.stage or "model"
    if stage not in STAGES:
        near = difflib.get_close_matches(stage, STAGES, 1)
        hint = f"did you mean {near[0]}?" if near else f"the stages are {', '.join(STAGES)}"
        raise Diagnostic("argument", f"there is no stage '{stage}'", where="--stage", hint=hint)
    for path, option in ((args.svg, "--svg"), (args.dot, "--dot")):
        check_writable(path, option)
    model = read.model(args.model)
    bound = read.outlined(args, model, ASSUMED)
    chains = read.whole_number(args.chains, "--chains", 1, read.sampler(args, model).chains)
    program = program_at(bound, stage, chains)
    if args.svg is None and args.dot is None:
        for note in bound.notes:
            print(f"# {note}")
        print(print_program(program), end="")
    for path, text in ((args.svg, svg_text), (args.dot, dot_text)):
        if path is not None:
            save(path, text(program), "--svg" if text is svg_text else "--dot")
            print(f"wrote {path}")
    return 0


def check_writable(path: str | None, option: str) -> None:
    """A file that is to be written at the end must have a folder at the start."""
    if path is not None and not Path(path).parent.is_dir():
        hint = f"make it, or give a file in a folder that exists: {option} {Path(path).name}"
        raise Diagnostic("argument", f"there is no folder '{Path(path).parent}'", where=f"{option} {path}", hint=hint)


def save(path: str, text: str, option: str) -> None:
    """Writes a file that the user asked for by an option."""
    from planner import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        hint = "give a file in a folder that exists and that you may write to"
        raise Diagnostic("argument", f"cannot write {path}: {error.strerror}", where=option, hint=hint) from None
