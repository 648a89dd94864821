"""Random small programs for the laws that passes keep, and one argument for each of their inputs."""

from collections.abc import Mapping

import numpy as np
from hypothesis import strategies as st

from ir.build import Builder, binary, constant, emit
from ir.dims import Dim, TensorType
from ir.graph import Program, Value
from ir.op import Op
from ir.ops.contract import Contract
from ir.ops.create import Broadcast, Coordinate
from ir.ops.elementwise import Cast, IntPow, Where, ZerosLike
from ir.ops.gather import Gather
from ir.ops.pullback import Pullback
from ir.ops.reduce import MaxOver, Sum
from ir.text import print_program

A, B, K = Dim("a", 2), Dim("b", 3), Dim("k", 4)
INPUTS = {
    "u": (TensorType((A, B), "f64"), "latent"),
    "v": (TensorType((B,), "f64"), "latent"),
    "s": (TensorType((), "f64"), "latent"),
    "table": (TensorType((K, A), "f64"), "data"),
    "y": (TensorType((B, A), "f64"), "data"),
    "index": (TensorType((B,), "i32"), "data"),
}
LATENTS = ("u", "v", "s")


@st.composite
def programs(draw: st.DrawFn, most: int = 12) -> str:
    """The text of a program of up to `most` steps over the inputs above, with up to three outputs.

    Text, because a failing example is to be read. Steps prefer what passes look for: neutral constants, broadcasts,
    repeated operations. Conditions compare data with a constant, so that rounding cannot flip them.
    """
    with Builder("random", real="f64") as b:
        given_ = {name: b.input(name, t, role) for name, (t, role) in INPUTS.items()}
        pool = [v for v in given_.values() if v.type.dtype == "f64"]
        pool.append(constant(draw(st.sampled_from([0.0, 1.0, -0.5]))))
        condition = emit(Op.table["lt"](), given_["y"], constant(0.1))
        for _ in range(draw(st.integers(1, most))):
            x, y = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
            pool.append(_step(draw, b, given_, condition, x, y))
        chosen = draw(st.lists(st.sampled_from(pool[-6:]), min_size=1, max_size=3))
        return print_program(b.finish({f"out{i}": v for i, v in enumerate(chosen)}))


def _step(draw: st.DrawFn, b: Builder, inputs: Mapping[str, Value], condition: Value, x: Value, y: Value) -> Value:
    missing = tuple(d for d in (A, B) if d.name not in x.type)
    shared = tuple(d for d in x.dims if d in y.type)
    choices = {
        "unary": lambda: emit(Op.table[draw(st.sampled_from(["neg", "tanh", "sin", "abs"]))](), x),
        "binary": lambda: binary(draw(st.sampled_from(["add", "sub", "mul", "maximum"])), x, y),
        "squash": lambda: emit(Op.table["tanh"](), x),
        "div": lambda: x / (y * y + 1.0),
        "neutral": lambda: draw(
            st.sampled_from([lambda: x * 1.0, lambda: x + 0.0, lambda: x / 1.0, lambda: 0.0 + x])
        )(),
        "constant": lambda: constant(draw(st.sampled_from([0.0, 1.0, 2.0, -3.0]))),
        "zeros": lambda: x + emit(ZerosLike(), y),
        "int_pow": lambda: emit(IntPow(draw(st.sampled_from([1, 2]))), emit(Op.table["tanh"](), x)),
        "where": lambda: emit(Where(), condition, x, y),
        "cast": lambda: emit(Cast("f64"), emit(Cast("c128"), x)),
        "pullback": lambda: emit(Pullback(Op.table["sin"](), 0), x * y, x) if set(y.dims) <= set(x.dims) else x,
    }
    if missing:
        choices["broadcast"] = lambda: emit(Broadcast(missing), x)
        choices["one"] = lambda: x * emit(Broadcast(missing), constant(1.0))
        choices["coordinate"] = lambda: x * emit(Coordinate(missing[0], dtype="f64"))
    if x.dims:
        over = tuple(draw(st.lists(st.sampled_from(x.dims), unique=True)))
        choices["sum"] = lambda: emit(Sum(over), x)
        choices["max"] = lambda: emit(MaxOver(over), x) if over else x
    if shared:
        choices["contract"] = lambda: emit(Contract(shared), x, y)
    if "k" in x.type:
        choices["gather"] = lambda: emit(Gather("k"), x, inputs["index"])
    return choices[draw(st.sampled_from(sorted(choices)))]()


def arguments(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """One array for each input: standard normal, or positions along K."""
    rng = np.random.default_rng(seed)
    found = {}
    for i in program.inputs:
        drawn = rng.integers(0, K.size, i.type.shape) if i.type.dtype == "i32" else rng.normal(size=i.type.shape)
        found[i.name] = np.asarray(drawn, i.type.numpy)
    return found
