"""How a plan runs: lowering to one SPMD program with explicit collectives."""

from .lax_collectives import LaxCollectives
from .lower import lower
from .options import compiler_options, hasty_options, quick_options
from .spmd import device_mesh, gather, spec, spmd, store, stored_shape

__all__ = [
    "LaxCollectives",
    "compiler_options",
    "device_mesh",
    "gather",
    "hasty_options",
    "lower",
    "quick_options",
    "spec",
    "spmd",
    "store",
    "stored_shape",
]
