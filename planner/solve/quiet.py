"""Keeping a C library's own prints off the user's standard output.

HiGHS 1.12 prints a line of debugging text from C when it repairs a solution, whatever its options say; in the output of
`--json` that would be an error. For as long as the solver runs, file descriptor 1 leads nowhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Sends what is written to file descriptor 1, from C too, to the null device."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # there is no standard output to protect
        yield
        return
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            with contextlib.suppress(OSError, AttributeError, TypeError):
                ctypes.CDLL(None).fflush(None)  # C's buffer would otherwise come out later
            os.dup2(saved, 1)
            os.close(saved)
