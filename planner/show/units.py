"""Seconds and bytes as people read them: three digits and a unit."""

from __future__ import annotations


def seconds_text(seconds: float) -> str:
    """Three digits and a unit: `79.0 us`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns" if seconds else "0 s"


def bytes_text(count: float) -> str:
    """Three digits and a unit of 1000: `12.3 MB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
