"""Rows of the benchmark of fields: ours against the best peer, and ours against what is allowed."""

from __future__ import annotations

from typing import Any

from _field_cases import DEPTH

COPIES = {"hmc": 6, "mams": 6, "mclmc": 4, "nuts": 13 + 2 * DEPTH}
"""Allowed copies of the latents, beyond the workspace of the model's own log density and gradient."""


def compare(metric: str, values: dict[str, float], target: float | None, options: Any) -> dict[str, Any]:
    """A row of ours against the best peer; without ours, with the reason."""
    best = min((n for n in values if n != "ours"), key=lambda n: values[n])
    row: dict[str, Any] = {"metric": metric, "ours": values.get("ours"), "peer": values[best], "peer_name": best}
    row["others"] = {n: v for n, v in values.items() if n not in ("ours", best)}
    if isinstance(options, str):
        return row | {"ratio": None, "target": target, "why": options}
    return row | {"ratio": values["ours"] / values[best] if values[best] else None, "target": target}


def allowed(metric: str, ours: float | None, bound: float, options: Any) -> dict[str, Any]:
    """A row of ours against a bound; the ratio to a bound of zero is what we have, with target zero."""
    row = {"metric": metric, "ours": ours, "peer": bound, "peer_name": "allowed", "target": 1.0 if bound else 0.0}
    if isinstance(options, str):
        return row | {"ratio": None, "why": options}
    return row | {"ratio": ours / bound if bound and ours is not None else ours}
