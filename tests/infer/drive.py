"""Runs kernels as the engine does, on one device's blocks, without a model."""

import jax
import jax.numpy as jnp
import numpy as np

import backend_cuda
from ppl.infer import block
from ppl.infer.fisher import FisherDiagonal, Windows
from ppl.infer.metric import Diagonal
from ppl.infer.protocol import Handover
from ppl.infer.schedule import make_schedule

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Compiler options for programs that run for less time than they take to compile."""


def jit(f):
    """`jax.jit` with what XLA is told of programs of few latents: they compile in half of the time."""
    devices = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    return jax.jit(f, compiler_options=backend_cuda.quick_options(devices))


def hasty(f):
    """`jit` without optimisation: for programs that run for less time than they take to compile."""
    return jax.jit(f, compiler_options=QUICK)


def method(kernel, **options):
    """The kernel's transitions, with a diagonal metric over two windows."""
    return block.Trajectories(kernel, Windows(FisherDiagonal(kernel.space)), **options)


def begin(kernel, position, step_size=None, variance=None):
    """Chains at `position`; step size and metric are searched for and learnt where they are not given."""
    size = None if step_size is None else jnp.broadcast_to(jnp.asarray(step_size, jnp.float64), (kernel.space.chains,))
    metric = None if variance is None else Diagonal({n: jnp.sqrt(v) for n, v in variance.items()})
    return Handover(block.init(kernel, position), metric, size)


def run(kernel, seed, position, schedule, *, limit=None, collect=None, step_size=None, variance=None, **options):
    """A block from `position`."""
    made = method(kernel, **options)
    state = made.start(seed, begin(kernel, position, step_size, variance))
    return advance(made, seed, state, schedule, limit, collect)


def advance(made, seed, state, schedule, limit=None, collect=None):
    """A further block; all transitions of the schedule unless there is a limit, all sites unless told what to keep."""
    length = len(schedule.adapt_step)
    return made.advance(seed, state, schedule, length if limit is None else limit, collect or (lambda x: x))


def unit(space):
    """The variance 1 everywhere."""
    return space.full(1.0)


def fixed(steps):
    """A schedule without adaptation."""
    return make_schedule(0, steps)
