"""Loops of little work are one function each: what is asked of XLA:CPU, and what it makes of NUTS."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from ppl import xla_flags
from ppl.infer.run import _Setup
from ppl.xla_flags import WHOLE_LOOP, with_options

WHOLE, PLAIN = f"xla_cpu_small_while_loop_byte_threshold={WHOLE_LOOP}", "xla_cpu_disable_loop_unrolling=true"
EXTRA = "--xla_backend_extra_options="
ASKED = f"{EXTRA}{WHOLE},{PLAIN}"
MARK = "xla_cpu_small_call"
"""What XLA writes at a loop that becomes a function."""


@pytest.mark.parametrize(
    ("flags", "then"),
    [
        ("", ASKED),
        ("--xla_cpu_use_onednn=false", f"--xla_cpu_use_onednn=false {ASKED}"),
        (ASKED.replace(str(WHOLE_LOOP), "0"), ASKED.replace(str(WHOLE_LOOP), "0")),
        (f"{EXTRA}{WHOLE}", f"{EXTRA}{WHOLE} {EXTRA}{PLAIN}"),
        ("/etc/flags of XLA", "/etc/flags of XLA"),
    ],
)
def test_the_options_join_the_users_flags_and_overrule_none(flags, then):
    assert with_options(flags) == then


@pytest.mark.parametrize(("first", "late"), [("import jax", False), ("import jax; jax.devices()", True)])
def test_jax_that_was_used_before_is_told(first, late):
    """In a process of its own: XLA reads its flags once."""
    code = f"{first}; import ppl; from ppl import xla_flags; print(xla_flags.LATE)"
    flags = {n: x for n, x in os.environ.items() if n != "XLA_FLAGS"}
    told = subprocess.run([sys.executable, "-c", code], env=flags, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(late)]


def test_a_run_tells_that_its_loops_are_slow(monkeypatch):
    devices = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    monkeypatch.setattr(xla_flags, "LATE", False)
    assert xla_flags.slow_loops(devices) == []
    monkeypatch.setattr(xla_flags, "LATE", True)
    assert "import ppl first" in xla_flags.slow_loops(devices)[0]


def test_a_loop_of_a_few_kilobytes_is_one_function():
    def rounds(x):
        return jax.lax.while_loop(lambda c: jnp.sum(c) < 1e3, lambda c: jnp.sin(c) + c * 1.1, x)

    assert MARK in jax.jit(rounds).lower(jnp.ones(500)).compile().as_text()
    assert MARK not in jax.jit(rounds).lower(jnp.ones(10**6)).compile().as_text()


def test_the_rounds_of_nuts_are_one_function():
    """Without library calls: they stand outside, where a metric is renewed, and small contractions are sums."""

    @ppl.model
    def regression(x: ppl.Data["row", "column"], y: ppl.Data["row"]):
        b = ppl.sample("b", ppl.Normal(0.0, 1.0), dims="column")
        noise = ppl.sample("noise", ppl.HalfNormal(1.0))
        ppl.observe("y", ppl.Normal(ppl.contract(x, b, over="column"), noise), y)

    rng = np.random.default_rng(1)
    posterior = ppl.compile(regression, {"x": rng.normal(size=(40, 3)), "y": rng.normal(size=40)}, dtype="float64")
    made = _Setup.of(posterior, ppl.nuts(), None, False).engines[-1].lowered().compile().as_text()
    marked = [line for line in made.splitlines() if MARK in line]
    assert any("f64[4,501,4]" in line for line in marked), "the loop that writes draws is not one of them"
