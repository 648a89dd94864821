"""The command `meshbayes`: what a person types, and what they are told when it goes wrong.

Every command is a file of this package with a function of the parsed arguments that returns an exit code. Whatever
happens, it ends here: 0 done; 1 the run failed; 2 the input is wrong (one diagnostic, no traceback); 130 interrupted.
JAX is imported by the commands that need it and not before: `--help` is quick, and a mesh of virtual CPU devices can
still be asked for (`devices.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence

from ir.errors import Diagnostic

from .parser import Request, parse

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: that of this process) and returns its exit code."""
    owned = argv is None
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv or os.environ.get("MESHBAYES_DEBUG", "") not in ("", "0")
    try:
        with contextlib.nullcontext() if debug else _quiet():
            return _execute(parse(argv))
    except BrokenPipeError:  # `meshbayes graph … | head`: whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        if owned:  # threads of a compilation that was cut off may crash an orderly end of the process
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        return INTERRUPTED
    except Diagnostic as error:
        if debug:
            traceback.print_exc()
        print(error.render(), file=sys.stderr)
        return FAILED if error.kind == "run" else WRONG
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(_unexpected(error, debug), file=sys.stderr)
        return FAILED


def _execute(request: Request) -> int:
    if request.text is not None:
        print(request.text)
        return DONE
    return importlib.import_module(f".{request.command}", __name__).execute(request.arguments)


def _unexpected(error: Exception, debug: bool) -> str:
    """What to say of an exception that nobody meant to reach the user."""
    detail = str(error).splitlines()[0] if str(error) else ""
    if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
        return (
            f"run error: a device ran out of memory ({detail[:200] or 'MemoryError'})\n"
            "hint: split the model over more devices (--mesh), or keep fewer quantities (--keep)"
        )
    how = "" if debug else " and what the same command prints with --debug"
    return (
        f"internal error: {type(error).__name__}: {detail[:500]}\n"
        f"This is a mistake in MeshBayes, not in your input: please report it, with the model{how}."
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps warnings of libraries off the terminal; what a user must know is said in our own words."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's notices; its errors still show
    logger = logging.getLogger("jax")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


__all__ = ["main"]
