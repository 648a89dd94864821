"""Does the predicted time order plans as they really run? Plans of one program, far apart, predicted and timed.

    python benchmarks/calibration.py --mesh row=4,col=2 [--machine here.toml] [--program lagrangian ...] [--quick]

For each program: the plan that is chosen, and eleven others, drawn (`_draw.py`) so that their predicted seconds lie far
apart. "spearman" is the rank correlation of predicted and measured seconds; "chosen / best measured" is what trusting
the prediction costs against trying them all. Without a machine file the devices are measured first. Plans are timed in
turn; as other programs only ever add time, the faster half of the repeats counts, less an empty call.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _draw import draw_plans, predicted_seconds
from _graphs import gaussian_field, lagrangian, model_gradient, particle_mesh

import planner
from ir.build import Builder, emit
from ir.dims import Dim, TensorType
from ir.graph import Program
from ir.mesh import Mesh
from ir.ops.contract import Contract
from ir.passes.differentiate import differentiate
from ir.passes.simplify import simplify
from ir.plan import Plan
from ppl.cli.devices import provide


def perceptron() -> Program:
    """Two matrix products with a nonlinearity, and the gradients of both matrices."""
    with Builder("perceptron") as b:
        t, i, h, o = Dim("t", 512), Dim("i", 192), Dim("h", 384), Dim("o", 96)
        x, first = b.input("x", TensorType((t, i)), "data"), b.input("A", TensorType((i, h)), "latent")
        second, y = b.input("B", TensorType((h, o)), "latent"), b.input("y", TensorType((t, o)), "data")
        hidden = emit(Contract(("i",)), x, first)
        miss = emit(Contract(("h",)), hidden * hidden, second) - y
        loss = emit(Contract(("t", "o")), miss, miss) * -0.5
        return simplify(differentiate(b.finish({"log_density": loss}), ["A", "B"]))


def regression() -> Program:
    """A Gaussian regression with 100,000 rows."""
    with Builder("regression") as b:
        n, d = Dim("n", 100_000), Dim("d", 48)
        x, y = b.input("x", TensorType((n, d)), "data"), b.input("y", TensorType((n,)), "data")
        w = b.input("w", TensorType((d,)), "latent")
        miss = emit(Contract(("d",)), x, w) - y
        return simplify(differentiate(b.finish({"log_density": emit(Contract(("n",)), miss, miss) * -0.5}), ["w"]))


PROGRAMS: dict[str, Callable[[], Program]] = {
    "perceptron": perceptron,
    "regression": regression,
    "gaussian field": lambda: gaussian_field((64, 60, 56)),
    "lagrangian": lambda: lagrangian(40),
    "particle mesh": lambda: particle_mesh(36, 1),
    "mass map": lambda: model_gradient("01_mass_map.ppl", x=256, y=240),
}


def time_plans(program: Program, plans: list[Plan], repeats: int) -> list[list[float]]:
    """Seconds of each plan's program, called in turn, less an empty call on the same devices."""
    import jax
    import numpy as np

    import backend_cuda
    from ppl.execute import Executable

    mesh = plans[0].mesh
    devices, rng = backend_cuda.device_mesh(mesh), np.random.default_rng(0)
    arrays = {i.name: 0.1 * rng.standard_normal(i.type.shape) for i in program.inputs}
    calls: list[Callable[[], Any]] = []
    with jax.enable_x64(True):
        spec = jax.sharding.PartitionSpec(mesh.names)
        nothing = jax.jit(jax.shard_map(lambda x: x + 1, mesh=devices, in_specs=spec, out_specs=spec))
        block = jax.device_put(np.zeros(mesh.devices), jax.sharding.NamedSharding(devices, spec))
        calls.append(lambda: nothing(block))
        for plan in plans:
            runs = Executable(program, plan, devices)
            stored = [runs.store(i.name, arrays[i.name]) for i in program.inputs]
            compiled = runs.jitted.lower(*stored).compile()
            calls.append(lambda run=compiled, args=stored: run(*args))
        taken: list[list[float]] = [[] for _ in calls]
        for turn in range(repeats + 1):
            for call, seconds in zip(calls, taken, strict=True):
                start = time.perf_counter()
                jax.block_until_ready(call())
                if turn:
                    seconds.append(time.perf_counter() - start)
    empty = _fast(taken[0])
    return [[max(s - empty, 1e-6) for s in seconds] for seconds in taken[1:]]


def compare(name: str, mesh: Mesh, machine: planner.Machine, count: int, repeats: int) -> dict[str, Any]:
    """A row: predicted and measured seconds of each plan, and what they say together."""
    from scipy.stats import spearmanr

    program = PROGRAMS[name]()
    plans = draw_plans(program, mesh, machine, count)
    measured = [_fast(s) for s in time_plans(program, plans, repeats)]
    predicted = [predicted_seconds(p) for p in plans]
    order = sorted(range(len(plans)), key=predicted.__getitem__)
    return {
        "case": f"{name}, mesh {mesh}",
        "metric": "spearman of predicted and measured seconds",
        "ours": round(float(spearmanr(predicted, measured).statistic), 3),
        "target": 0.8,
        "plans": len(plans),
        "chosen / best measured": round(measured[0] / min(measured), 3),
        "slowest / fastest measured": round(max(measured) / min(measured), 2),
        "measured / predicted": round(statistics.median(m / p for m, p in zip(measured, predicted, strict=True)), 2),
        "seconds": [
            {
                "predicted": predicted[i],
                "computing": plans[i].prediction.compute_seconds,  # type: ignore[union-attr]
                "measured": measured[i],
                "collectives": _collectives(program, plans[i]),
                "pins": list(plans[i].pins),
            }
            for i in order
        ],
    }


def _collectives(program: Program, plan: Plan) -> str:
    found: dict[str, list[float]] = {}
    for c, times in plan.collectives(program).items():
        found.setdefault(c.kind, []).extend([c.bytes] * times)
    return ", ".join(f"{len(sizes)} {kind} of {sum(sizes) / 1e6:.3g} MB" for kind, sizes in sorted(found.items()))


def _fast(seconds: list[float]) -> float:
    """The median of the faster half."""
    return statistics.median(sorted(seconds)[: (len(seconds) + 1) // 2])


def _measure_machine(mesh: Mesh, quick: bool) -> planner.Machine:
    from ppl.cli import main

    with tempfile.TemporaryDirectory() as folder:
        words = ["calibrate", "--mesh", str(mesh), "--out", f"{folder}/here.toml", *(["--quick"] if quick else [])]
        if main(words):
            sys.exit("the devices could not be measured")
        return planner.Machine.load(f"{folder}/here.toml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", default="row=4,col=2")
    parser.add_argument("--machine", help="a machine file, or the name of a machine; default: measured first")
    parser.add_argument("--program", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--plans", type=int, default=11, help="plans besides the chosen one")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, a quick calibration")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    options = parser.parse_args()
    mesh = Mesh.parse(options.mesh)
    provide(mesh.devices)
    machine = planner.Machine.load(options.machine) if options.machine else _measure_machine(mesh, options.quick)
    rows: list[dict[str, Any]] = []
    for name in options.program:
        rows.append(compare(name, mesh, machine, options.plans, 5 if options.quick else 15))
        if options.json is not None:
            options.json.write_text(_result(machine, rows), encoding="utf-8")
    print(_result(machine, rows), end="")


def _result(machine: planner.Machine, rows: list[dict[str, Any]]) -> str:
    result = {
        "name": "calibration",
        "machine": f"{platform.machine()}, {platform.system()}: {machine.title}",
        "median spearman": statistics.median(r["ours"] for r in rows),
        "largest chosen / best measured": max(r["chosen / best measured"] for r in rows),
        "rows": rows,
    }
    return json.dumps(result, indent=1) + "\n"


if __name__ == "__main__":
    main()
