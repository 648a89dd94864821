"""The solver's own prints do not reach standard output."""

import ctypes
import os

from planner.solve.quiet import quiet_stdout


def test_nothing_written_inside_reaches_standard_output(capfd):
    with quiet_stdout():
        os.write(1, b"from the system\n")
        ctypes.CDLL(None).printf(b"from C\n")
    print("after", flush=True)
    assert capfd.readouterr().out == "after\n"
