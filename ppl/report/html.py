"""The report of a run: one HTML file with everything in it, to keep beside the draws or to mail.

A section is a function that returns HTML, or nothing where the run has nothing to show for it. The file loads nothing
from outside: styles, the few lines of script that sort the table, and all figures are inside.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic

from ..io.draws import Draws
from ..io.store import open_run
from .sections import energy_section, fields_section, summary_section, traces_section, warnings_section
from .summary import Summary, summarize
from .warnings import find_warnings

PAGES = ("warnings", "summary", "traces", "fields", "sampler", "model", "plan", "software")
"""The sections of a report, in order."""
_PACKAGES = ("meshbayes", "jax", "jaxlib", "numpy", "scipy", "arviz", "zarr")


@dataclass(frozen=True, eq=False)
class _Run:
    """What the sections show."""

    draws: Draws
    summary: Summary
    truth: Mapping[str, np.ndarray]
    model_text: str | None
    plan_text: str | None
    versions: Mapping[str, str]


def write_report(
    run: str | Path | Draws,
    out: str | Path,
    model_text: str | None = None,
    plan_text: str | None = None,
    machine: str | None = None,
    seed: int | None = None,
    versions: Mapping[str, str] | None = None,
    truth: Mapping[str, Any] | None = None,
    pages: Iterable[str] = PAGES,
    title: str | None = None,
) -> Path:
    """Write the report of a run folder, or of draws in memory, to the file `out`.

    `truth` maps quantities to the values a simulation was made with: they are marked in the plots. `pages` chooses
    sections among `PAGES`. What is not given is taken from the run's attributes, or from `model.*` and `plan.*` in its
    folder. Raises `Diagnostic` when a truth does not fit its quantity or the file cannot be written.
    """
    draws = run if isinstance(run, Draws) else open_run(run)
    if not isinstance(run, Draws):
        model_text = model_text or _text_of(run, ("model.ppl", "model.txt", "model.py"))
        plan_text = plan_text or _text_of(run, ("plan.txt", "plan.toml"))
    pages = tuple(pages)
    for page in pages:
        if page not in PAGES:
            raise Diagnostic(
                "argument", f"a report has no page '{page}'", hint=f"choose among {', '.join(PAGES)}", where="pages"
            )
    everything = _Run(
        draws,
        summarize(draws),
        _fitting_truth(draws, truth or {}),
        model_text or draws.attrs.get("model_text"),
        plan_text or draws.attrs.get("plan_text"),
        versions or draws.attrs.get("versions") or installed_versions(),
    )
    written = [(page, *_SECTIONS[page](everything)) for page in pages]
    shown = [(page, heading, body) for page, heading, body in written if body]
    title = title or str(draws.attrs.get("model", "Posterior"))
    text = _page(title, _facts(draws, machine, seed), shown)
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Diagnostic(
            "run", f"the report cannot be written: {error.strerror}", where=str(out), hint="choose another file"
        ) from error
    return Path(out)


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, without importing them."""
    return dict(_installed_versions())


@cache
def _installed_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _warnings(run: _Run) -> tuple[str, str]:
    return "Warnings", warnings_section(find_warnings(run.draws, run.summary), run.summary)


def _summary(run: _Run) -> tuple[str, str]:
    return "Summary", summary_section(run.summary)


def _traces(run: _Run) -> tuple[str, str]:
    return "Traces and ranks", traces_section(run.draws, run.summary, run.truth)


def _fields(run: _Run) -> tuple[str, str]:
    return "Fields", fields_section(run.draws, run.truth)


def _sampler(run: _Run) -> tuple[str, str]:
    return "Sampler", energy_section(run.draws)


def _model(run: _Run) -> tuple[str, str]:
    return "Model", f"<pre>{escape(run.model_text.strip())}</pre>" if run.model_text else ""


def _plan(run: _Run) -> tuple[str, str]:
    return "Plan", f"<pre>{escape(run.plan_text.rstrip())}</pre>" if run.plan_text else ""


def _software(run: _Run) -> tuple[str, str]:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in run.versions.items())
    return "Software", f'<table style="width: auto"><tbody>{rows}</tbody></table>' if rows else ""


_SECTIONS = {
    "warnings": _warnings,
    "summary": _summary,
    "traces": _traces,
    "fields": _fields,
    "sampler": _sampler,
    "model": _model,
    "plan": _plan,
    "software": _software,
}


def _facts(draws: Draws, machine: str | None, seed: int | None) -> dict[str, str]:
    """How the run was made, in the order a reader asks."""
    attrs = draws.attrs
    seconds = attrs.get("seconds")
    return {
        key: str(value)
        for key, value in {
            "sampler": attrs.get("sampler"),
            "chains": draws.num_chains or None,
            "draws per chain": f"{draws.num_draws}" + ("" if attrs.get("finished", True) else " so far"),
            "seed": attrs.get("seed") if seed is None else seed,
            "time": None if seconds is None else _duration(float(seconds)),
            "gradients": f"{int(attrs['gradients']):,}" if "gradients" in attrs else None,
            "machine": machine or attrs.get("machine"),
            "mesh": attrs.get("mesh"),
            "dtype": attrs.get("dtype"),
            "started": attrs.get("started"),
        }.items()
        if value is not None
    }


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _page(title: str, facts: Mapping[str, str], sections: list[tuple[str, str, str]]) -> str:
    here = Path(__file__)
    links = "".join(f'<a href="#{page}">{escape(heading)}</a>' for page, heading, _ in sections)
    known = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    bodies = "\n".join(
        f'<section id="{page}">\n<h2>{escape(heading)}</h2>\n{body}\n</section>' for page, heading, body in sections
    )
    day = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: report of a run</title>
<style>
{here.with_name("report.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p class="lead">Report of a run of MeshBayes, written {day}</p>
<dl class="facts">{known}</dl>
<nav>{links}</nav>
</header>
{bodies}
<footer><p>R-hat, effective sample sizes and Monte Carlo errors as in Vehtari et al. (2021), doi:10.1214/20-BA1221,
computed by ArviZ. E-BFMI as in Betancourt (2016), arXiv:1604.00695.</p></footer>
</main>
<script>
{here.with_name("report.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def _fitting_truth(draws: Draws, truth: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The truths of quantities that the run has, each of its quantity's shape."""
    fitting = {}
    for name, value in truth.items():
        array = np.asarray(value)
        variable = draws["posterior"].get(name)
        shape = variable.event_shape if variable else None
        if variable is None and name in draws["posterior_mean"]:
            shape = draws["posterior_mean"][name].shape
        if shape is None:
            continue
        if array.shape != shape:
            raise Diagnostic(
                "argument",
                f"the truth of '{name}' has shape {array.shape}, and the quantity has {shape}",
                where="truth",
                hint="give the truth with the dims of one draw, in their order",
            )
        fitting[name] = array
    return fitting


def _text_of(run: str | Path, names: Iterable[str]) -> str | None:
    folder = Path(run).parent if Path(run).suffix == ".zarr" else Path(run)
    found = next((folder / n for n in names if (folder / n).is_file()), None)
    return found.read_text(encoding="utf-8") if found else None
