"""Draws as ArviZ takes them: `InferenceData` for ArviZ 0.x, an `xarray.DataTree` for ArviZ 1.x."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .draws import STATIC, Draws


def import_arviz() -> Any:
    """The `arviz` module, without the notice about its future that some versions give at import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    return arviz


def arviz_major() -> int:
    """0 or 1: which of ArviZ's two interfaces is installed."""
    from importlib.metadata import version

    return int(version("arviz").partition(".")[0])


def to_arviz(draws: Draws) -> Any:
    """The draws in the container of the ArviZ that is installed; stored arrays are read into memory.

    Functions of ArviZ (`summary`, `plot_trace`, `loo`) take the result directly.
    """
    datasets = {group: to_dataset(draws, group) for group in draws.groups if draws[group]}
    if arviz_major() >= 1:
        import xarray as xr

        return xr.DataTree.from_dict(datasets)
    arviz = import_arviz()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not defined in the InferenceData scheme.*")
        return arviz.InferenceData(**datasets)


def to_dataset(draws: Draws, group: str) -> Any:
    """One group as an `xarray.Dataset`, with labels along every dim that has them."""
    import xarray as xr

    variables = {name: (v.dims, v.values) for name, v in draws[group].items()}
    sizes = {dim: n for v in draws[group].values() for dim, n in zip(v.dims, v.shape, strict=True)}
    coords = {dim: labels for dim, labels in draws.coords.items() if len(labels) == sizes.get(dim)}
    if group not in STATIC:
        coords |= {dim: np.arange(sizes[dim]) for dim in ("chain", "draw") if dim in sizes}
    attrs = {k: v for k, v in draws.attrs.items() if isinstance(v, str | int | float)}
    return xr.Dataset(variables, coords=coords, attrs=attrs)
