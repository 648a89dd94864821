"""The draws of a run as plain data: group → name → (dims, array), in memory or lying in a store.

The groups are ArviZ's. An array of a sampled group is `[chain, draw, *dims]`; the groups in `STATIC` have neither.
`Draws` is what reports read and what `to_arviz` converts, whether the arrays are NumPy's or are still on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STATIC = ("observed_data", "constant_data", "posterior_mean", "posterior_sd")
"""Groups without chain and draw. `posterior_mean` and `posterior_sd` hold the streaming moments of fields whose draws
are not kept."""

GROUPS = (
    "posterior",
    "sample_stats",
    "warmup_posterior",
    "warmup_sample_stats",
    "posterior_predictive",
    "log_likelihood",
    "prior",
    "prior_predictive",
    *STATIC,
)

STATISTICS = {
    "lp": "log density of the draw",
    "energy": "Hamiltonian at the start of the trajectory",
    "acceptance_rate": "mean acceptance probability of the trajectory",
    "diverging": "whether the trajectory diverged",
    "tree_depth": "doublings of a NUTS trajectory",
    "reached_max_treedepth": "whether the trajectory ended because of the depth limit",
    "n_steps": "gradients of the trajectory",
    "step_size": "integrator step",
    "converged": "whether the fit that draws come from has met its criteria",
    "failed": "whether the draw, or the fit that it comes from, is not usable",
    "gradient_norm": "norm of the gradient at the mode; of a dense laplace its distance from the mode [sd]; "
    "of mgvi how far the latest round moved the mean [sd]",
    "mean_lp": "mean log density of the approximation's samples",
    "elbo": "evidence lower bound of the approximation",
    "log_evidence": "log evidence by the quadratic model at the mode",
    "log_weight": "log density minus that of the approximation, at the draw",
}
"""The names in `sample_stats` that reports understand, as ArviZ spells them; all are `[chain, draw]`."""


@dataclass(frozen=True, eq=False)
class Variable:
    """A named-dim array; `data` has `shape`, `dtype` and `[...]`, and may lie on disk until `values` reads it."""

    dims: tuple[str, ...]
    data: Any

    @property
    def values(self) -> np.ndarray:
        return np.asarray(self.data[...])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def event_dims(self) -> tuple[str, ...]:
        """The dims of one draw."""
        return tuple(d for d in self.dims if d not in ("chain", "draw"))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(n for d, n in zip(self.dims, self.shape, strict=True) if d not in ("chain", "draw"))


@dataclass(frozen=True, eq=False)
class Draws:
    """The results of a run.

    `coords` labels dims. `attrs` says how it was made; reports use `model`, `sampler`, `seed`, `seconds`, `machine`,
    `versions`, `target_acceptance`, `max_tree_depth` where they are there.
    """

    groups: Mapping[str, Mapping[str, Variable]]
    coords: Mapping[str, np.ndarray] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        groups: Mapping[str, Mapping[str, tuple[tuple[str, ...], Any]]],
        coords: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Draws:
        """From plain nested dicts; a dim list that leaves out chain and draw gets them in a sampled group."""
        made: dict[str, dict[str, Variable]] = {}
        sizes: dict[str, int] = {}
        for group, variables in groups.items():
            made[group] = {}
            for name, (dims, array) in variables.items():
                lead = () if group in STATIC or "draw" in dims else ("chain", "draw")
                array = np.asarray(array)
                if array.ndim != len(lead) + len(dims):
                    raise ValueError(f"{group}/{name}: dims {(*lead, *dims)} do not fit the shape {array.shape}")
                made[group][name] = Variable((*lead, *dims), array)
                for dim, size in zip(dims, array.shape[len(lead) :], strict=True):
                    if sizes.setdefault(dim, size) != size and dim not in ("chain", "draw"):
                        raise ValueError(f"{group}/{name}: dim '{dim}' has size {size}, elsewhere {sizes[dim]}")
        labels = {dim: np.asarray(values) for dim, values in (coords or {}).items()}
        return cls(made, labels, dict(attrs or {}))

    def __getitem__(self, group: str) -> Mapping[str, Variable]:
        """The variables of a group, empty where the run has no such group."""
        return self.groups.get(group, {})

    def statistic(self, name: str) -> np.ndarray | None:
        """`[chain, draw]` values from `sample_stats`, or None."""
        found = self["sample_stats"].get(name)
        return None if found is None else found.values

    @property
    def num_chains(self) -> int:
        return self._extent("chain")

    @property
    def num_draws(self) -> int:
        """Draws of each chain that are there so far."""
        return self._extent("draw")

    def _extent(self, dim: str) -> int:
        for group in ("posterior", "sample_stats"):
            for variable in self[group].values():
                if dim in variable.dims:
                    return variable.shape[variable.dims.index(dim)]
        return 0

    def to_arviz(self) -> Any:
        """`InferenceData` where ArviZ 0.x is installed, `xarray.DataTree` where 1.x is."""
        from .arviz import to_arviz

        return to_arviz(self)
