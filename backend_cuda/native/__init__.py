"""Hand-written collectives and kernels: one C++ core for CPUs and GPUs, called through `jax.ffi`; see README.md."""

from .boxes import BoxProgram
from .choose import collectives_of, painter_of
from .collectives import NativeCollectives
from .communicator import Binding, bind

__all__ = ["Binding", "BoxProgram", "NativeCollectives", "bind", "collectives_of", "painter_of"]
