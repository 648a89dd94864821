"""A particle-mesh simulation and its gradient beside pmpp (PM++) and JaxPM: time, memory, and bytes of a Poisson solve.

2LPT at a = 1/64, steps even in a to today, and the variance of the density there, of side^3 particles on as many cells
of 4 Mpc/h, in float32; forward, and with the gradient in white noise. Ours and pmpp's gradients are also in five
cosmological parameters, through tables of growth that are made anew; JaxPM gets growth as numbers. With n steps ours
and JaxPM evaluate n forces, pmpp n + 1, of which the last goes to momenta that nobody asks for.

Times are CPU time of one core, medians of alternated repeats; eight virtual devices (a process of its own) share it.

    CPU seconds                  of a call of the compiled program
    temporary bytes a particle   XLA's, arguments and results left out; of eight devices one's, a particle of its own
    ... 70 steps against 10      ours: the memory of a gradient that rebuilds its states
    bytes sent in collectives    of an inverse Laplacian on a 4 x 2 mesh, in optimised HLO; jaxDecomp's is complex

    python benchmarks/pm.py [--quick] [--part one|eight|poisson|memory] [--sides 64 128]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false "
    f"--xla_force_host_platform_device_count={os.environ.get('MESHBAYES_PM_DEVICES', '1')}"
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _pm_ours as ours
import _pm_peers as peers
from _harness import alternate, parser, report, row

from backend_cuda.inspect import hlo_collectives

EIGHT_DEVICES = os.environ.get("MESHBAYES_PM_DEVICES") == "8"
STEPS = 10
PACKAGES = ("jax", "jaxlib", "pmpp", "jaxpm", "jaxdecomp", "jax_cosmo")
PARTS = ("one", "eight", "poisson", "memory")
GRID = (4, 2)
Maker = Callable[[], ours.Compiled]


def compare(named: dict[str, Any], mine: Maker, theirs: dict[str, tuple[Maker, float]], repeats: int) -> Iterator[Any]:
    """Rows of time and memory against each peer, by its package's name and target."""
    made, why = {"ours": mine()}, {}
    for name, (make, _) in theirs.items():
        reason = peers.missing(name.split()[0])
        if reason is None:
            made[name] = make()
        else:
            why[name] = reason
    seconds = alternate({n: c.call for n, c in made.items()}, repeats, time.process_time)
    particles = named.pop("particles")
    for name, (_, target) in theirs.items():
        if name in why:
            yield named | {
                "metric": "CPU seconds",
                "peer_name": name,
                "ratio": None,
                "target": target,
                "why": why[name],
            }
            continue
        pair = {"ours": seconds["ours"], "peer": seconds[name]}
        variances = {"variance": made["ours"].variance, "peer_variance": made[name].variance}
        yield named | row(named["case"], "CPU seconds", pair, 1, name, target) | variances
        bytes_ = [made[n].temp / particles for n in ("ours", name)]
        found = {"metric": "temporary bytes a particle", "ours": bytes_[0], "peer": bytes_[1], "peer_name": name}
        yield named | found | {"ratio": bytes_[0] / bytes_[1], "target": 1.0}


def one(sides: list[int], repeats: int) -> Iterator[Any]:
    for side in sides:
        for gradient in (False, True):
            named = {"case": f"{'gradient' if gradient else 'forward'}, {side}^3, one device", "particles": side**3}
            theirs = {
                "pmpp": (lambda s=side, g=gradient: peers.pmpp(s, STEPS, g), 1.0),
                "jaxpm": (lambda s=side, g=gradient: peers.jaxpm(s, STEPS, g), 1.0),
            }
            yield from compare(named, lambda s=side, g=gradient: ours.simulation(s, STEPS, g), theirs, repeats)


def eight(sides: list[int], repeats: int) -> Iterator[Any]:
    """JaxPM with the halo of its own tests, half of the mesh, of which it sends a half."""
    for side in sides:
        for gradient in (False, True):
            named: dict[str, Any] = {"case": f"{'gradient' if gradient else 'forward'}, {side}^3, eight devices"}
            named["particles"] = side**3 // 8  # memory is a device's
            named["halo"] = {"ours": ours.REACH.get(side, 10), "peer": side // 2}
            theirs = {"jaxpm": (lambda s=side, g=gradient: peers.jaxpm(s, STEPS, g, GRID, s // 2), 0.5)}
            mine: Maker = lambda s=side, g=gradient: ours.simulation(s, STEPS, g, ours.EIGHT)  # noqa: E731
            yield from compare(named, mine, theirs, repeats)


def poisson(sides: list[int]) -> Iterator[Any]:
    """Compiled only, so that a quick run has the size at which bytes and not latencies decide on the plan."""
    for side in {max(256, s) for s in sides}:
        compiled, mesh = ours.poisson(side)
        named = {"case": f"Poisson solve, {side}^3, eight devices", "metric": "bytes sent in collectives, a device"}
        mine = exchanged(compiled, mesh)
        if reason := peers.missing("jaxdecomp"):
            found: dict[str, Any] = {"ours": sum(mine.values()), "ratio": None, "why": reason}
        else:
            theirs = exchanged(peers.complex_poisson(side, GRID), mesh)
            total, peer = sum(mine.values()), sum(theirs.values())
            found = {"ours": total, "peer": peer, "peer_name": "jaxdecomp", "ratio": total / peer}
            found |= {"ours_by_kind": mine, "peer_by_kind": theirs}
        yield named | found | {"target": 0.55}


def exchanged(compiled: Any, mesh: Any) -> dict[str, int]:
    """Bytes of the operands of collectives by kind, with how many there are."""
    found = [p.collective for p in hlo_collectives(compiled.as_text(), mesh)]
    kinds = sorted({c.kind for c in found})
    by_kind = {k: [c.bytes for c in found if c.kind == k] for k in kinds}
    return {f"{len(b)} x {k}": sum(b) for k, b in by_kind.items()}


def memory(sides: list[int]) -> Iterator[Any]:
    for side in sides:
        few, many = (ours.temp(side, n) for n in (STEPS, 7 * STEPS))
        named = {"case": f"gradient, {side}^3, one device", "metric": "temporary bytes a particle, 70 steps against 10"}
        found = {"ours": many / side**3, "peer": few / side**3, "peer_name": "ours, 10 steps"}
        yield named | found | {"ratio": many / few, "target": 1.05}


def measure(parts: list[str], sides: list[int], repeats: int) -> list[Any]:
    rows: list[Any] = []
    by_name: dict[str, Callable[[], Iterator[Any]]] = {
        "one": lambda: one(sides, repeats),
        "eight": lambda: eight(sides, repeats),
        "poisson": lambda: poisson(sides),
        "memory": lambda: memory(sides),
    }
    for part in parts:
        for found in by_name[part]():
            print(json.dumps(found), file=sys.stderr, flush=True)
            rows.append(found)
    return rows


def on_eight(parts: list[str], sides: list[int], repeats: int) -> list[Any]:
    """The parts for eight devices, in a process that has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        told = [str(path), str(repeats), ",".join(parts), ",".join(map(str, sides))]
        environment = {**os.environ, "MESHBAYES_PM_DEVICES": "8"}
        subprocess.run([sys.executable, __file__, *told], check=True, env=environment)
        return json.loads(path.read_text())


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="these parts only")
    options.add_argument("--sides", nargs="+", type=int, help="particles along each dim (default: 64 128; quick: 32)")
    chosen = options.parse_args()
    sides, repeats = chosen.sides or ([32] if chosen.quick else [64, 128]), 3 if chosen.quick else 5
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = measure([p for p in chosen.part if p in ("one", "memory")], sides, repeats)
    if wide := [p for p in chosen.part if p in ("eight", "poisson")]:
        rows += on_eight(wide, sides, repeats)
    report("pm", rows, PACKAGES, chosen.json)


if __name__ == "__main__" and EIGHT_DEVICES:
    file, count, parts, widths = sys.argv[1:]
    rows = measure(parts.split(","), [int(s) for s in widths.split(",")], int(count))
    Path(file).write_text(json.dumps(rows))
elif __name__ == "__main__":
    main()
