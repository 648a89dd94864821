"""Samplers whose own sums and whose model's collectives are one chain: the draws that `jax.lax` gives, and no hang.

Bit for bit: all-reduces add in the order of ranks, which is that of XLA:CPU, exchanges only copy, and what XLA compiles
between them is the same. Runs are processes of their own, so that one that hangs is a failed test.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import norm

import ppl
from backend_cuda import LAX, collectives_of, device_mesh
from backend_cuda.native.build import host_command
from ir.errors import Diagnostic
from ir.mesh import Mesh

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def run(mesh: str, pin: str, sampler: str, collectives: str, out: Path) -> dict[str, np.ndarray]:
    """The draws of `field_run.py` on virtual devices; 300 s are many times what it takes, on a busy machine too."""
    host_command()  # without a C++ compiler this says so
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    flags = f"--xla_force_host_platform_device_count={Mesh.parse(mesh).devices}"
    env = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, str(HERE / "field_run.py"), mesh, pin, sampler, str(out)]
    done = subprocess.run(command, env={**env, "MESHBAYES_COLLECTIVES": collectives}, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return dict(np.load(out))


SQUARE, LINE, CHAINS = ("row=2,col=2", "x=row,y=col"), ("row=8", "x=row"), ("row=2,col=2", "chain=row,x=col")
CASES = [(LINE, "hmc"), (LINE, "nuts"), (LINE, "mclmc"), (SQUARE, "nuts"), (SQUARE, "mclmc"), (SQUARE, "reproducible")]
CASES += [(CHAINS, "nuts"), (CHAINS, "chees"), (CHAINS, "smc")]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "sampler"), [(SQUARE, "hmc"), *CASES])
def test_a_sampler_draws_what_it_draws_with_lax(where, sampler, tmp_path):
    mesh, pin = where
    ours, theirs = (run(mesh, pin, sampler, word, tmp_path / f"{word}.npz") for word in ("native", "lax"))
    assert ours["native"] >= 4 and ours["xla"] == 0, "a collective outside of the chain"
    assert theirs["native"] == 0 and theirs["xla"] >= 4
    for name in ("amp", "white"):
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.slow
def test_two_processes_draw_what_one_process_draws_on_two_devices(tmp_path):
    """With MESHBAYES_COLLECTIVES unset: native is what auto takes where processes share a mesh."""
    alone = run("row=2", "x=row", "hmc", "lax", tmp_path / "alone.npz")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "MESHBAYES_COLLECTIVES": ""}
    outs = [tmp_path / f"{rank}.npz" for rank in range(2)]
    command = [sys.executable, str(HERE / "field_run.py"), "row=2", "x=row", "hmc"]
    ranks = [
        subprocess.Popen([*command, str(out), str(rank), "2", port], env=env, stderr=subprocess.PIPE, text=True)
        for rank, out in enumerate(outs)
    ]
    try:
        told = [rank.communicate(timeout=120)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank, err, out in zip(ranks, told, outs, strict=True):
        assert rank.returncode == 0, err[-3000:]
        made = dict(np.load(out))
        assert made["native"] >= 4 and made["xla"] == 0
        for name in ("value", "grad:amp", "grad:white", "amp", "white"):
            np.testing.assert_array_equal(made[name], alone[name], err_msg=name)


@pytest.mark.slow
def test_programs_that_take_forward_derivatives_use_lax_throughout(tmp_path):
    ours = run("row=2,col=2", "x=row,y=col", "laplace", "native", tmp_path / "native.npz")
    assert ours["native"] == 0 and ours["xla"] > 5
    assert any("laplace takes forward derivatives" in note for note in ours["notes"])


def test_one_process_takes_native_collectives_when_asked_to(monkeypatch):
    devices = device_mesh(Mesh.parse("row=2,col=2"))
    monkeypatch.delenv("MESHBAYES_COLLECTIVES", raising=False)
    assert collectives_of(devices) is LAX
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "native")
    found = collectives_of(devices)
    assert found.name == "native" and collectives_of(devices) is found, "one binding a mesh"
    assert collectives_of(device_mesh(Mesh.parse("row=1"))) is LAX
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "nccl")
    with pytest.raises(Diagnostic, match="no kind of collectives"):
        collectives_of(devices)


def test_the_log_density_of_a_user_is_jitted_differentiated_and_batched_with_native_collectives(monkeypatch):
    monkeypatch.setenv("MESHBAYES_COLLECTIVES", "native")
    text = "model m\ndim x = 12\ns ~ Normal(0, 1)\nv[x] ~ Normal(s, 1)\ndata y: real\ny ~ Normal(sum(v, over = x), 1)\n"
    model, data = ppl.from_text(text), {"y": 1.0}
    plan = ppl.plan(model, data, mesh="row=2,col=2", pins=("v:x=row+col",))
    posterior = ppl.compile(model, data, plan=plan)
    rng = np.random.default_rng(0)
    at = {"s": rng.normal(size=3).astype(np.float32), "v": rng.normal(size=(3, 12)).astype(np.float32)}
    f = jax.value_and_grad(posterior.log_density)
    one, many = jax.jit(f)({n: x[1] for n, x in at.items()}), jax.jit(jax.vmap(f))(at)
    assert "@meshbayes_" in jax.jit(f).lower({n: x[1] for n, x in at.items()}).as_text()
    exact = norm.logpdf(at["s"][1]) + norm.logpdf(at["v"][1], at["s"][1]).sum() + norm.logpdf(1, at["v"][1].sum())
    np.testing.assert_allclose(one[0], exact, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[1], rtol=1e-6), one, many)
