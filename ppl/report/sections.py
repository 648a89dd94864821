"""The body of each section of a report, as HTML; an empty string where the run has nothing to show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape

import numpy as np

from ..infer.tracers_of import MARK
from ..io.draws import Draws
from .diagnose import ESS_PER_CHAIN, RHAT, energy_bfmi
from .fields import field_moments, field_names, plot_agreement, plot_field
from .figure import colour
from .finding import Finding
from .plots import plot_curve, plot_energy, plot_scalar
from .summary import FieldRow, Row, Summary, decimals, element_labels, elements_of, number, whole

TRACES = 24
"""Scalars and elements with plots of their own."""
PER_ARRAY = 4
"""Elements of one array among them: those with the fewest effective draws."""
FIELDS = 12
"""Fields with maps, and 1-D quantities with bands."""


def warnings_section(findings: list[Finding], summary: Summary) -> str:
    """The findings, problems first, or the sentence that there are none."""
    if not findings:
        above = sum(f.high.count for f in summary.fields)
        but = f" but for {above:,} elements of fields, about as many as chance makes," if above else ""
        return (
            '<div class="finding good"><p><strong>No warnings.</strong> R-hat is at most '
            f"{RHAT}{but} and there are at least {ESS_PER_CHAIN} effective draws per chain for everything that was "
            "checked, and the sampler reported no trouble. This does not prove that the model is right.</p></div>"
        )
    return "\n".join(
        f'<div class="finding {f.severity}"><p><strong>{f.severity.capitalize()}.</strong> {escape(f.what)}.</p>'
        f"<p>{escape(f.advice)}</p></div>"
        for f in findings
    )


def summary_section(summary: Summary) -> str:
    """The table of scalars and the table of fields."""
    parts = []
    needed = ESS_PER_CHAIN * summary.num_chains
    if summary.rows:
        body = []
        for r in summary.rows:
            cells = [_cell(v, number(v)) for v in (r.mean, r.sd, r.q5, r.q50, r.q95, r.mcse)]
            cells += [_cell(v, whole(v), v < needed) for v in (r.ess_bulk, r.ess_tail)]
            cells.append(_cell(r.rhat, decimals(r.rhat), r.rhat > RHAT))
            body.append(f"<tr><td>{escape(r.name)}</td>{''.join(cells)}</tr>")
        headings = ("quantity", "mean", "sd", "5%", "50%", "95%", "± mean", "ESS bulk", "ESS tail", "R-hat")
        parts.append(_table(headings, body))
        parts.append('<p class="caption">± mean: Monte Carlo standard error of the mean. Click a heading to sort.</p>')
    if summary.fields:
        parts.append("<h3>Fields</h3>" if summary.rows else "")
        parts.append(
            _table(("quantity", "mean", "sd", "ESS bulk", "ESS tail", "R-hat"), map(_field_cells, summary.fields))
        )
        checked = ", ".join(f"{f.checked} of {f.elements:,} elements of {escape(f.name)}" for f in summary.fields)
        parts.append(f'<p class="caption">Median, and in small minimum to maximum, over {checked}.</p>')
    return "\n".join(parts)


def traces_section(draws: Draws, summary: Summary, truth: Mapping[str, np.ndarray]) -> str:
    """Density, trace and ranks of the scalars, and of the elements of short arrays while there is room."""
    chosen = _chosen_elements(draws, summary)
    if not chosen:
        return ""
    diverging = draws.statistic("diverging")
    figures = []
    for label, name, i in chosen:
        values = elements_of(draws["posterior"][name], np.array([i]))[..., 0].astype(float)
        true = float(truth[name].ravel()[i]) if name in truth else None
        figures.append(f"<figure>{plot_scalar(label, values, diverging, true)}</figure>")
    keys = "".join(
        f'<span class="key" style="--tone: {colour(c)}"><i></i>chain {c}</span>'
        for c in range(min(8, draws.num_chains))
    )
    note = (
        "Ranks of a chain that agrees with the others are flat; the grey band is twice the error of independent draws."
    )
    if len(chosen) < len(summary.rows):
        note += (
            f" Shown are {len(chosen)} of {len(summary.rows)}: of each array, those with the fewest effective draws."
        )
    if diverging is not None and diverging.any():
        note += " Red ticks under a trace are divergences."
    if any(name in truth for _, name, _ in chosen):
        note += " Dashed: the true value."
    return f'<p class="caption">{keys}</p><p class="caption">{note}</p>\n' + "\n".join(figures)


def fields_section(draws: Draws, truth: Mapping[str, np.ndarray]) -> str:
    """Maps of 2-D and 3-D quantities, bands of 1-D ones, with the truth where known."""
    parts = []
    names = field_names(draws)
    for name in names[:FIELDS]:
        moments = field_moments(draws, name)
        true = truth.get(name)
        label = f"{name}[{', '.join(f'{d}={n}' for d, n in zip(moments.dims, moments.mean.shape, strict=True))}]"
        width = "" if true is not None else ' class="middle"'
        parts.append(f"<h3>{escape(label)}</h3>\n<figure{width}>{plot_field(name, moments, true)}</figure>")
        if true is not None:
            parts.append(f"<figure>{plot_agreement(name, moments, true)}</figure>")
    if truth.keys() & set(names):
        parts.append(
            '<p class="caption">The line of the middle panel is the standard normal: of a right and nearly normal '
            "posterior 68% of the elements are within 1 sd of the truth and 95% within 2 sd. Coherence is the "
            "correlation of mean and truth at each wavenumber, transfer the root of the ratio of their power.</p>"
        )
    if len(names) > FIELDS:
        parts.append(f'<p class="caption">{len(names) - FIELDS} more fields are in the draws.</p>')
    lines = [n for n, v in draws["posterior"].items() if len(v.event_dims) == 1 and v.event_shape[0] > 3]
    curves = [n for n in lines if MARK not in n]  # neighbours among tracers are none in the field
    for name in curves[:FIELDS]:
        variable = draws["posterior"][name]
        values = variable.values
        if values.dtype.kind == "c":
            values = np.abs(values)
        band = np.quantile(values.reshape(-1, values.shape[-1]), (0.05, 0.5, 0.95), axis=0)
        dim, count = variable.event_dims[0], variable.event_shape[0]
        along = draws.coords.get(dim)
        along = np.arange(count) if along is None or len(along) != count else along
        figure = plot_curve(name, dim, along, band, truth.get(name))
        parts.append(f"<figure>{figure}</figure>")
    return "\n".join(parts)


def energy_section(draws: Draws) -> str:
    """Step size, acceptance and trouble by chain, and the energy plot."""
    statistics = draws["sample_stats"]
    if not statistics:
        return ""
    columns: dict[str, list[str]] = {}

    def add(heading: str, name: str, show: str, reduce: str) -> None:
        values = draws.statistic(name)
        if values is not None:
            numbers = values[:, -1] if reduce == "last" else getattr(np, reduce)(values, axis=1)
            columns[heading] = [show.format(v) for v in numbers.tolist()]

    add("step size", "step_size", "{:.3g}", "last")
    add("acceptance", "acceptance_rate", "{:.3f}", "mean")
    add("gradients per draw", "n_steps", "{:.1f}", "mean")
    add("mean depth", "tree_depth", "{:.1f}", "mean")
    add("divergences", "diverging", "{:.0f}", "sum")
    add("at depth limit", "reached_max_treedepth", "{:.0f}", "sum")
    energy = draws.statistic("energy")
    usable = energy is not None and np.isfinite(energy).all() and energy.shape[1] >= 10
    if usable:
        columns["E-BFMI"] = [f"{v:.2f}" for v in energy_bfmi(energy)]  # type: ignore[arg-type]
    rows = [
        f"<tr><td>{c}</td>{''.join(f'<td>{columns[h][c]}</td>' for h in columns)}</tr>" for c in range(draws.num_chains)
    ]
    parts = [_table(("chain", *columns), rows)] if columns else []
    target = draws.attrs.get("target_acceptance")
    if target is not None:
        parts.append(f'<p class="caption">Target acceptance {float(target):g}.</p>')
    if usable:
        parts.append(f'<figure class="narrow">{plot_energy(energy)}</figure>')  # type: ignore[arg-type]
        parts.append(
            '<p class="caption">The two histograms are alike when fresh momenta carry a chain to all energies.</p>'
        )
    return "\n".join(parts)


def _chosen_elements(draws: Draws, summary: Summary) -> list[tuple[str, str, int]]:
    """Label, quantity and flat position of what is plotted: every scalar, and the worst few elements of each array."""
    listed = {r.name: r for r in summary.rows}
    chosen: list[tuple[str, str, int]] = []
    for name, variable in draws["posterior"].items():
        if variable.data.dtype.kind == "c" or math.prod(variable.event_shape) > len(listed):
            continue
        labels = element_labels(name, variable, draws.coords)
        known = [(label, name, i) for i, label in enumerate(labels) if label in listed]
        worst = sorted(known, key=lambda e: _least_ess(listed[e[0]]))[:PER_ARRAY]
        chosen += [e for e in known if e in worst]
    return chosen[:TRACES]


def _least_ess(row: Row) -> float:
    ess = min(row.ess_bulk, row.ess_tail)
    return ess if math.isfinite(ess) else -1.0


def _field_cells(f: FieldRow) -> str:
    label = f"{f.name}[{', '.join(f'{d}={n}' for d, n in zip(f.dims, f.shape, strict=True))}]"
    cells = [
        f'<td data-value="{v[1]}">{show(v[1])} <span class="range">{show(v[0])} – {show(v[2])}</span></td>'
        for v, show in ((f.mean, number), (f.sd, number), (f.ess_bulk, whole), (f.ess_tail, whole), (f.rhat, decimals))
    ]
    return f"<tr><td>{escape(label)}</td>{''.join(cells)}</tr>"


def _table(headings: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{chr(10).join(rows)}</tbody></table></div>"
    )


def _cell(value: float, shown: str, flag: bool = False) -> str:
    return f'<td data-value="{value}"{" class=flag" if flag else ""}>{shown}</td>'
