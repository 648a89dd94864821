"""What a model text knows after `use cosmology`: the functions of this package by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..trace.records import checked
from .background import comoving_distance, hubble, matter_fraction, scale_factor, transverse_distance
from .bias import bias_weights
from .cosmology import Cosmology, Planck15, Planck18
from .growth import growth_factor, growth_rate
from .particles import density, displacement, redshift_space, velocity
from .power import linear_power, sigma, sigma8, tabulated_power
from .simulation import linear_density, simulate
from .spectra import cross_correlation, cross_power, mean_wavenumber, mode_count, power_spectrum
from .transfer import transfer, transfer_no_wiggle

_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    *(hubble, matter_fraction, comoving_distance, transverse_distance, scale_factor, growth_factor, growth_rate),
    *(transfer, transfer_no_wiggle, linear_power, sigma, sigma8, tabulated_power, Planck15, Planck18),
    *(linear_density, simulate, displacement, velocity, redshift_space, density, bias_weights),
    *(power_spectrum, cross_power, cross_correlation, mode_count, mean_wavenumber),
)

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cosmology": checked(Cosmology),
    **{f.__name__: checked(f) for f in _FUNCTIONS},
}

__all__ = ["FUNCTIONS"]
