"""What XLA makes of a space's methods on a CPU: passes and memory, from the compiled program; nothing is timed."""

import re

import jax
import jax.numpy as jnp

from ir import counter
from ppl.infer.space import Space

SIZE = 1 << 20


def test_a_step_draws_its_noise_once_and_holds_no_product():
    """Noise that enters three inner products and an update is drawn in one loop, into the memory of the result."""
    with jax.enable_x64(True):
        space = Space.single({"x": (SIZE,)}, 1, "float32")

        def step(u, g):
            n = space.normal(counter.seed_key(1), 1)
            products = space.dots([(u, n), (g, n), (n, n), (u, g)])
            return space.axpy(products[0], g, space.axpy(products[1], n, u)), products

        field = {"x": jax.ShapeDtypeStruct((1, SIZE), jnp.float32)}
        compiled = jax.jit(step).lower(field, field).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.01 * 4 * SIZE
    computations = re.split(r"\n(?=%|ENTRY)", compiled.as_text())
    ciphers = [c for c in computations if len(re.findall(rf"u32\[[0-9,]*{SIZE}\]\S* xor\(", c)) >= 20]
    assert len(ciphers) == 1
    reductions = [c for c in computations if re.search(r" reduce\(", c)]
    assert len(reductions) == 1
