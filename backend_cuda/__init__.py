"""How a plan runs: lowering to one SPMD program with explicit collectives."""

from .lax_collectives import LAX, LaxCollectives, apart
from .lower import lower
from .native import collectives_of, painter_of
from .options import compiler_options, hasty_options, quick_options
from .spmd import device_mesh, gather, on_cpu, spec, spmd, store, stored_shape, to_host

__all__ = [
    "LAX",
    "LaxCollectives",
    "apart",
    "collectives_of",
    "compiler_options",
    "device_mesh",
    "gather",
    "hasty_options",
    "lower",
    "on_cpu",
    "painter_of",
    "quick_options",
    "spec",
    "spmd",
    "store",
    "stored_shape",
    "to_host",
]
