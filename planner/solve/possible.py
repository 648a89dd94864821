"""Is there any choice at all? What no layouts lead to costs infinitely much; here everything else costs nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .network import Network, Variable
from .search import solve


def is_possible(network: Network) -> bool:
    """Whether some choice of states has a finite price; true as well where the search ends before it knows."""
    variables = [Variable(v.name, v.states, _free(v.cost), np.zeros(len(v.states))) for v in network.variables]
    stars = [replace(s, price=_free(s.price), ties=np.zeros_like(s.ties)) for s in network.stars]
    found = solve(Network(variables, stars), cutoff=0.0)
    return found is not None and (found.cost == 0.0 or "stopped" in found.how)


def _free(price: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(price), 0.0, np.inf)
