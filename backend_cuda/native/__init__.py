"""Hand-written collectives: one C++ core for CPUs and GPUs, called through `jax.ffi`. README.md has the protocol."""

from .boxes import BoxProgram
from .choose import collectives_of
from .collectives import NativeCollectives
from .communicator import Binding, bind

__all__ = ["Binding", "BoxProgram", "NativeCollectives", "bind", "collectives_of"]
