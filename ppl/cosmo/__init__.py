"""Cosmology for models: expansion, distances, growth and linear power as functions of values (see README.md)."""

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
from .cosmology import SPEED_OF_LIGHT, Cosmology, Planck15, Planck18
from .growth import Growth, growth, growth_factor, growth_rate
from .power import PowerTable, linear_power, power_table, sigma, sigma8, tabulated_power
from .transfer import transfer, transfer_no_wiggle

__all__ = [
    "SPEED_OF_LIGHT",
    "Cosmology",
    "Distances",
    "Growth",
    "Planck15",
    "Planck18",
    "PowerTable",
    "comoving_distance",
    "distances",
    "growth",
    "growth_factor",
    "growth_rate",
    "hubble",
    "hubble_slope",
    "linear_power",
    "matter_fraction",
    "power_table",
    "scale_factor",
    "sigma",
    "sigma8",
    "tabulated_power",
    "transfer",
    "transfer_no_wiggle",
    "transverse_distance",
]
