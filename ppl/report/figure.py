"""Figures as inline SVG that takes the page's text colour, so that one file is right in light and in dark.

Text, axes and ticks are drawn in an ink that the SVG calls `currentColor`. Dense marks are drawn as pixels inside the
SVG (`rasterized=True`), which keeps a page with many traces small.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any

DPI = 120
"""Pixels per inch of what is drawn as pixels: a figure of 10.4 inches fills the page's 1088 CSS pixels."""
INK = "#010203"
"""Stands for the page's text colour; no data may be drawn in it."""
CHAIN_COLOURS = ("#3b82c4", "#d9822b", "#3a9a6a", "#b565c9", "#cf5c56", "#2aa5a5", "#a8892c", "#7c83d6")
"""Middle tones, which stand out from white and from near-black."""
ALARM = "#d64545"
TRUTH = "#d64545"

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "meshbayes",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "figure.facecolor": "none",
}
_numbers = itertools.count()


def colour(chain: int) -> str:
    """The colour of a chain; eight, then again."""
    return CHAIN_COLOURS[chain % len(CHAIN_COLOURS)]


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Inside, figures are drawn in the report's style; the user's own Matplotlib settings are left alone."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float, layout: str = "constrained") -> Any:
    """An empty figure of that size in inches, without `pyplot` and its global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def to_svg(figure: Any, label: str) -> str:
    """The figure as an `<svg>` element that stands alone in HTML: no outside references, ids of its own.

    `label` is what a screen reader says.
    """
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", dpi=DPI, transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    prefix = f"f{next(_numbers)}-"
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Matplotlib names an image by its content: two equal colour bars would have one id between them.
    svg = re.sub(r'(<image\b[^>]*?)\sid="[^"]*"', r"\1", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}").replace('href="#', f'href="#{prefix}')
    svg = svg.replace(INK, "currentColor").replace("xlink:href", "href")
    spoken = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{spoken}"', 1)
