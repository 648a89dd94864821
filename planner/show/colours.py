"""One colour per distinct split, the same in every picture; what splits nothing is grey, a partial sum is hatched.

Colours are made in OKLCH (Ottosson 2020, "A perceptual color space for image processing"), so that all are equally
light: text is readable on each, and none shouts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

HUES = (250, 55, 145, 320, 95, 200, 20, 285, 170, 345)
"""Degrees, the most different first."""
LIGHT, DARK = (0.86, 0.085), (0.42, 0.085)
"""Lightness and chroma of a fill on white and on black paper."""
STROKE_LIGHT, STROKE_DARK = (0.55, 0.13), (0.72, 0.12)


def split_of(layout: str) -> str:
    """The part of a layout's text that a colour stands for: without the partial sums."""
    return layout.partition(";")[0]


def legend(data: Mapping[str, Any], more: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Every layout of a plan (as `as_json` gives it), most bytes first, with its colours; then `more`."""
    weight: dict[str, float] = {}
    for v in data["values"]:
        weight[v["layout"]] = weight.get(v["layout"], 0.0) + v["block_bytes"]
    for e in data["edges"]:
        weight.setdefault(e["layout"], 0.0)
    ordered = sorted(weight, key=lambda layout: (-weight[layout], layout))
    ordered = list(dict.fromkeys((*ordered, *sorted(more))))
    numbers = {split: i for i, split in enumerate(_splits(ordered))}
    return [
        {"layout": layout, "partial": ";" in layout, **_colours(numbers.get(split_of(layout)))} for layout in ordered
    ]


def _splits(layouts: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(s for layout in layouts if (s := split_of(layout)) != "whole")


def _colours(number: int | None) -> dict[str, str]:
    """Fills and lines on light and on dark paper; neutral for None."""
    if number is None:
        return {"fill": "#eceff1", "line": "#8d969e", "dark_fill": "#2a3137", "dark_line": "#828d96"}
    turn, index = divmod(number, len(HUES))
    hue = HUES[index] + 17.0 * turn
    shade = 0.04 * (turn % 3)
    return {
        "fill": oklch(LIGHT[0] - shade, LIGHT[1], hue),
        "line": oklch(*STROKE_LIGHT, hue),
        "dark_fill": oklch(DARK[0] + shade, DARK[1], hue),
        "dark_line": oklch(*STROKE_DARK, hue),
    }


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """A colour as `#rrggbb`; what a screen cannot show is clipped."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
    )
    return "#" + "".join(f"{round(255 * _gamma(min(1.0, max(0.0, x)))):02x}" for x in linear)


def _gamma(x: float) -> float:
    return 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055
