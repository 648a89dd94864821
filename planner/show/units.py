"""Seconds and bytes as people read them: three digits and a unit."""

from __future__ import annotations

import math
import re

UNITS = {"": 1.0, "b": 1.0}
UNITS |= {p + b: 1e3**n for n, p in enumerate("kmgt", 1) for b in ("", "b")} | {
    f"{p}ib": 1024.0**n for n, p in enumerate("kmgt", 1)
}


def read_bytes(text: str) -> float | None:
    """Bytes, as `80GB`, `500 MiB` or `8e10`; None where that is none of it, or nothing."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)(e\+?\d+)?\s*([a-z]*)\s*", text.lower())
    if match is None or match[3] not in UNITS:
        return None
    value = float(match[1] + (match[2] or "")) * UNITS[match[3]]
    return value if 0 < value < math.inf else None


def seconds_text(seconds: float) -> str:
    """Three digits and a unit: `79.0 us`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    if 0 < abs(seconds) < 1e-10:
        return "< 0.1 ns"
    return f"{seconds * 1e9:.3g} ns" if seconds else "0 s"


def bytes_text(count: float) -> str:
    """Three digits and a unit of 1000: `12.3 MB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
