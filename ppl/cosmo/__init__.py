"""Cosmology for models: from expansion to simulations and their power, as functions of values (see README.md)."""

from .background import (
    Distances,
    comoving_distance,
    distances,
    hubble,
    hubble_slope,
    matter_fraction,
    scale_factor,
    transverse_distance,
)
from .bias import bias_weights
from .cosmology import SPEED_OF_LIGHT, Cosmology, Planck15, Planck18
from .growth import Growth, growth, growth_factor, growth_rate
from .particles import Particles, density, displacement, redshift_space, velocity
from .power import PowerTable, linear_power, power_table, sigma, sigma8, tabulated_power
from .simulation import linear_density, simulate
from .spectra import cross_correlation, cross_power, mean_wavenumber, mode_count, power_spectrum
from .transfer import transfer, transfer_no_wiggle

__all__ = [
    "SPEED_OF_LIGHT",
    "Cosmology",
    "Distances",
    "Growth",
    "Particles",
    "Planck15",
    "Planck18",
    "PowerTable",
    "bias_weights",
    "comoving_distance",
    "cross_correlation",
    "cross_power",
    "density",
    "displacement",
    "distances",
    "growth",
    "growth_factor",
    "growth_rate",
    "hubble",
    "hubble_slope",
    "linear_density",
    "linear_power",
    "matter_fraction",
    "mean_wavenumber",
    "mode_count",
    "power_spectrum",
    "power_table",
    "redshift_space",
    "scale_factor",
    "sigma",
    "sigma8",
    "simulate",
    "tabulated_power",
    "transfer",
    "transfer_no_wiggle",
    "transverse_distance",
    "velocity",
]
