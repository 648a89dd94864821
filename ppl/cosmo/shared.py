"""What several functions of a model need of one cosmology is made once."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ir.build import Builder, current

from .cosmology import Cosmology
from .growth import Growth, growth

_made: WeakKeyDictionary[Builder, list[tuple[Cosmology, Growth]]] = WeakKeyDictionary()


def growth_of(cosmo: Cosmology) -> Growth:
    """The growth of a cosmology: where the program being built has it already, that one."""
    builder = current()
    known = _made.setdefault(builder, [])
    for other, found in known:
        if other is cosmo and any(v is found.table[0] for n in builder.nodes for v in n.results):
            return found  # what was built on trial is gone from the nodes again
    made = growth(cosmo)
    known[:] = [(c, g) for c, g in known if c is not cosmo] + [(cosmo, made)]
    return made


__all__ = ["growth_of"]
