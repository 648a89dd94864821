"""Hand-written kernels on GPUs, checked and timed: the script of a first run on a device, one device is enough.

Each step runs in a process of its own, as an error on a device ends its process, and within a limit. `--dry-run` does
the same with the CPU build and small sizes. Checks are rows without a ratio; what failed has "failed" and why.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _harness import parser, report, write

ROOT = Path(__file__).parent.parent
PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "nvidia-nccl-cu13")
Rows = list[dict[str, Any]]
GRAPHS = {"graphs": "--xla_gpu_graph_min_graph_size=1", "no graphs": "--xla_gpu_enable_command_buffer="}


def environment(dry: bool, flags: str = "", devices: int = 1, more: dict[str, str] | None = None) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, "MESHBAYES_COLLECTIVES": "native", "JAX_ENABLE_X64": "1", **(more or {})}
    if dry:
        flags = f"--xla_force_host_platform_device_count={devices}"
    env["JAX_PLATFORMS"] = "cpu" if dry else "cuda"
    return {**env, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}


def performed(case: str, command: list[str], envs: list[dict[str, str]], limit: float) -> Rows:
    """The rows that processes of one step made, the first of them; or one row of how it failed."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        out = Path(folder) / "rows.json"
        command = [*command, "--out", str(out), "--port", str(port), "--processes", str(len(envs))]
        started = [
            subprocess.Popen([*command, "--rank", str(r)], env=env, stdout=-1, stderr=subprocess.STDOUT, text=True)
            for r, env in enumerate(envs)
        ]
        said, failed = "", ""
        try:
            for p in started:
                said += p.communicate(timeout=limit)[0][-1500:]
        except subprocess.TimeoutExpired:
            failed = f"not done within {limit:g} s"
        finally:
            for p in started:
                p.kill()
        codes = [p.wait() for p in started]
        if not failed and not any(codes) and out.exists():
            return [{**row, "case": f"{case}: {row['case']}"} for row in json.loads(out.read_text())]
        why = f"{failed or f'exit codes {codes}'}: {said[-3000:]}"
        return [{"case": case, "metric": "check", "failed": True, "ratio": None, "why": why}]


def steps(dry: bool, chosen: list[str] | None) -> dict[str, Any]:
    """By name: command, environments of its processes, limit in seconds."""
    me = [sys.executable, __file__, *(["--dry-run"] if dry else [])]
    one = environment(dry)
    grown = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    few = {"CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": ".2", **grown}
    many = {"NCCL_MULTI_RANK_GPU_ENABLE": "1", "NCCL_MAX_CTAS": "8", "NCCL_NVLS_ENABLE": "0"}
    watched = shutil.which("compute-sanitizer")
    found = {
        "versions": ([*me, "--step", "versions"], [one], 240),
        "virtual": ([*me, "--step", "virtual"], [one], 120),
        **{name: ([*me, "--step", "replay"], [environment(dry, flags)], 60) for name, flags in GRAPHS.items()},
        "painting": ([*me, "--step", "painting"], [one], 90),
        "transposes": ([*me, "--step", "transposes"], [one], 120),
        "processes": ([*me, "--step", "ranks"], [environment(dry, more=few)] * 2, 90),
        "devices": ([*me, "--step", "ranks"], [environment(dry, devices=4)], 90),
        "jax.lax in processes": ([*me, "--step", "ranks", "--lax"], [environment(dry, more={**few, **many})] * 2, 60),
    }
    if watched:
        checked = [watched, "--tool", "memcheck", "--error-exitcode", "9", *me, "--step", "virtual"]
        found["memcheck"] = (checked, [{**one, **grown}], 240)
    unknown = set(chosen or ()) - set(found)
    if unknown:
        raise SystemExit(f"no step {', '.join(sorted(unknown))}; there are: {', '.join(found)}")
    return {name: found[name] for name in chosen or found}


def run_step(options: Any) -> None:
    """In a process of its own: one step, whose rows go to a file."""
    import jax

    if options.processes > 1:
        mine = None if options.dry_run else [0]
        address = f"127.0.0.1:{options.port}"
        jax.distributed.initialize(address, options.processes, options.rank, local_device_ids=mine)
    import _device_steps

    lax = {"lax": True} if options.lax else {}
    rows = _device_steps.STEPS[options.step](options.dry_run, **lax)
    if options.rank == 0:
        options.out.write_text(json.dumps(rows))


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--dry-run", action="store_true", help="on CPUs, with the CPU build")
    options.add_argument("--only", nargs="+", metavar="STEP", help="these steps")
    for name in ("--step", "--out", "--port", "--processes", "--rank"):
        options.add_argument(name, type={"--step": str, "--out": Path}.get(name, int), help="of a process of a step")
    options.add_argument("--lax", action="store_true", help="of a process of a step")
    options = options.parse_args()
    if options.step:
        run_step(options)
        return
    rows: Rows = []
    if not options.dry_run and not shutil.which("nvidia-smi"):
        rows.append({"case": "a GPU", "ratio": None, "why": "none is here; --dry-run does the same on CPUs"})
    else:
        for name, (command, envs, limit) in steps(options.dry_run, options.only).items():
            rows += performed(name, command, envs, limit)
            write("gpu_collectives", rows, PACKAGES, options.json)
    report("gpu_collectives", rows, PACKAGES, options.json)
    if any(row.get("failed") for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
