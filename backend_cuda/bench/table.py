"""The table as text, after nccl-tests: a line for each case, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from .measure import Reading, Row

HEAD = f"{'collective':<15}{'size':>12}{'count':>12}{'type':>6}"
UNITS = f"{'':<15}{'(B)':>12}{'(elements)':>12}{'':>6}"
COLUMNS = ("time", "algbw", "busbw", "#wrong")
WIDTHS = (11, 9, 9, 8)


def header(names: Sequence[str]) -> str:
    """`names` are those of the implementations, each of which has four columns."""
    titles = "".join(f"  {name:^{sum(WIDTHS)}}" for name in names)
    columns = "  " + "".join(f"{c:>{w}}" for c, w in zip(COLUMNS, WIDTHS, strict=True))
    units = "  " + "".join(f"{c:>{w}}" for c, w in zip(("(us)", "(GB/s)", "(GB/s)", ""), WIDTHS, strict=True))
    lines = (" " * len(HEAD) + titles, HEAD + columns * len(names), UNITS + units * len(names))
    return "\n".join(f"# {line}".rstrip() for line in lines)


def line(row: Row, names: Sequence[str]) -> str:
    """A dash stands for what was not measured."""
    case = f"  {row.collective:<15}{row.size:>12}{row.count:>12}{row.dtype:>6}"
    return case + "".join("  " + _reading(row, row.readings.get(name)) for name in names)


def _reading(row: Row, reading: Reading | None) -> str:
    if reading is None:
        return "".join(f"{'-':>{w}}" for w in WIDTHS)
    algorithm, bus = row.algorithm_bandwidth(reading) / 1e9, row.bus_bandwidth(reading) / 1e9
    cells = (f"{1e6 * reading.seconds:.2f}", f"{algorithm:.3f}", f"{bus:.3f}", str(reading.wrong))
    return "".join(f"{c:>{w}}" for c, w in zip(cells, WIDTHS, strict=True))


def out_of_bounds(rows: Sequence[Row]) -> int:
    """All wrong elements."""
    return sum(r.wrong for row in rows for r in row.readings.values() if r is not None)


def summary(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The wrong values, and the mean of each implementation's bus bandwidths over the cases that all of them have, so
    that they can be compared."""
    wrong = out_of_bounds(rows)
    lines = [f"# out of bounds values : {wrong} {'FAILED' if wrong else 'OK'}"]
    measured = [n for n in names if any(row.readings.get(n) for row in rows)]
    shared = [row for row in rows if all(row.readings.get(n) for n in measured)]
    for name in measured if shared else ():
        mean = fmean(row.bus_bandwidth(r) for row in shared if (r := row.readings[name]) is not None)
        lines.append(f"# average bus bandwidth : {mean / 1e9:.4g} GB/s, {name}, of {len(shared)} cases")
    return "\n".join(lines)
