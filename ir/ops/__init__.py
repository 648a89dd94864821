"""The operations, a family a file. Defining a leaf class of `Op` is all that it takes to add one."""

from . import (
    contract,
    control,
    create,
    elementwise,
    fft,
    gather,
    jaxfn,
    linalg,
    order,
    pullback,
    random,
    reduce,
    shape,
    sites,
    special,
    stencil,
)

__all__ = [
    "contract",
    "control",
    "create",
    "elementwise",
    "fft",
    "gather",
    "jaxfn",
    "linalg",
    "order",
    "pullback",
    "random",
    "reduce",
    "shape",
    "sites",
    "special",
    "stencil",
]
