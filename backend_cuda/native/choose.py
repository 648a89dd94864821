"""Which collectives and kernels a mesh uses: as their plan says, MESHBAYES_COLLECTIVES, or where the mesh lies."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import jax

from ir.native import Native, mode
from ir.painter import Painter

from ..lax_collectives import LAX, LaxCollectives
from ..spmd import on_cpu
from .collectives import Rules
from .communicator import Binding, bind
from .in_turn import InTurn
from .particles import NativePainter

_bound: dict[tuple[jax.sharding.Mesh, str], Binding | None] = {}
_chosen: dict[tuple[jax.sharding.Mesh, str, Rules], LaxCollectives] = {}
_lock = threading.Lock()


def collectives_of(mesh: jax.sharding.Mesh, rules: Sequence[Native] | None = None) -> LaxCollectives:
    """`jax.lax`'s, or native ones on a binding that is kept; every process of a run asks, for the same meshes in order.

    rules: what a plan gives to the kernels (`Plan.native`); None where it leaves that open. In auto it is then native
    where several processes share the mesh, on CPUs. Virtual devices of one process stand in for a mesh that is
    elsewhere, and do as it would. Who asks for native has them for all that they serve, whatever a plan says.
    """
    wanted = mode()
    key = mesh, wanted, tuple(rules) if rules is not None and wanted == "auto" else None
    with _lock:
        if key not in _chosen:
            _chosen[key] = _choose(*key)
        return _chosen[key]


def _choose(mesh: jax.sharding.Mesh, wanted: str, rules: Rules) -> LaxCollectives:
    devices = mesh.devices.flat
    shared = len({d.process_index for d in devices}) > 1 and all(d.platform == "cpu" for d in devices)
    asked = bool(rules) if rules is not None else shared
    if mesh.size == 1 or not (asked or wanted == "native"):
        return LAX
    # A process that asks for lax tells the others so: they may ask for something else.
    if (mesh, wanted) not in _bound:
        _bound[mesh, wanted] = bind(mesh, planned=bool(rules))
    found = _bound[mesh, wanted]
    return LAX if found is None else InTurn(found, rules)


def painter_of(mesh: jax.sharding.Mesh) -> Painter:
    """What paints and reads particles on the devices of a mesh: our kernels where `library` has them, else XLA."""
    return NativePainter("cpu" if on_cpu(mesh) else "gpu")
