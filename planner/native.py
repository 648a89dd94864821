"""Which collectives of a mesh go to hand-written kernels: those that the machine's figures say are faster."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

from ir.layout import Axes
from ir.mesh import Mesh
from ir.native import MAX_RANKS, SMALL_SUM, Native

from .machine import KINDS, Machine

LARGEST = 44
"""Sizes are told apart by powers of two up to this one; larger messages are as those of 2^44 bytes."""


def native_rules(machine: Machine, mesh: Mesh) -> tuple[Native, ...] | None:
    """What kernels perform on a mesh, in rules that a plan stores; None where no figures say.

    Kernels serve groups of up to 64 devices of one node. Where the user asks for them they have all that they serve.
    """
    link, always = machine.native, machine.collectives == "native"
    if machine.collectives == "lax":
        return ()
    if not always and (link is None or not link.measured):
        return None
    return tuple(
        rule
        for axes in _groups(machine, mesh)
        for kind in KINDS
        for rule in ([_all(kind, axes)] if always else _where_faster(machine, mesh, kind, axes))
    )


def _groups(machine: Machine, mesh: Mesh) -> Iterator[Axes]:
    """The axes along which kernels can reach all devices."""
    long = [a for a in mesh.names if mesh.size(a) > 1]
    for count in range(1, len(long) + 1):
        for axes in combinations(long, count):
            if machine.group(mesh, axes)[0] == 1 and mesh.size(axes) <= MAX_RANKS:
                yield axes


def _all(kind: str, axes: Axes) -> Native:
    return Native(kind, axes, most=SMALL_SUM if kind == "all_reduce" else math.inf)


def _where_faster(machine: Machine, mesh: Mesh, kind: str, axes: Axes) -> Iterator[Native]:
    """Of what kernels serve, the ranges of sizes in which they take less time than `jax.lax`."""
    whole = _all(kind, axes)
    assert machine.native is not None
    ours, theirs = machine.native.curve(kind, 1, mesh.size(axes)), machine.lax_curve(kind, mesh, axes)
    exponents = [k for k in range(LARGEST + 1) if 2.0**k <= whole.most]
    wins = {k for k in exponents if ours(2.0**k) < theirs(2.0**k)}
    for first in sorted(k for k in wins if k - 1 not in wins):
        last = next(k for k in range(first, LARGEST + 1) if k + 1 not in wins)
        yield Native(kind, axes, 2.0**first if first else 0.0, whole.most if last == exponents[-1] else 2.0**last)
