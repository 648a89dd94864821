"""Which collectives the programs of a device mesh use: by MESHBAYES_COLLECTIVES, or by where the mesh lies."""

from __future__ import annotations

import threading

import jax

from ..lax_collectives import LAX, LaxCollectives
from .build import mode
from .communicator import bind
from .in_turn import InTurn

_chosen: dict[tuple[jax.sharding.Mesh, str], LaxCollectives] = {}
_lock = threading.Lock()


def collectives_of(mesh: jax.sharding.Mesh) -> LaxCollectives:
    """`jax.lax`'s, or native ones on a binding that is kept; every process of a run asks, for the same meshes in order.

    auto: native where several processes share the mesh, on CPUs. Virtual devices of one process stand in for a mesh
    that is elsewhere, and do as it would.
    """
    wanted = mode()
    with _lock:
        if (mesh, wanted) not in _chosen:
            _chosen[mesh, wanted] = _choose(mesh, wanted)
        return _chosen[mesh, wanted]


def _choose(mesh: jax.sharding.Mesh, wanted: str) -> LaxCollectives:
    devices = mesh.devices.flat
    shared = len({d.process_index for d in devices}) > 1 and all(d.platform == "cpu" for d in devices)
    if mesh.size == 1 or (not shared and wanted != "native"):
        return LAX
    # A process that asks for lax tells the others so: they may ask for something else.
    found = bind(mesh)
    return LAX if found is None else InTurn(found)
