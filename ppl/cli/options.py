"""The commands and their options, as data; `read.py` gives the words a meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option: its name without dashes, what `--help` says, and how argparse takes it."""

    name: str
    help: str
    how: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """One command: its single positional argument is the `subject`, where it has one."""

    name: str
    subject: str
    subject_help: str
    usage: str
    example: str
    description: str
    groups: dict[str, tuple[Option, ...]]
    epilog: str = ""


def _one(name: str, metavar: str, help: str) -> Option:
    return Option(name, help, {"metavar": metavar})


def _many(name: str, metavar: str, help: str) -> Option:
    return Option(name, help, {"metavar": metavar, "nargs": "+", "action": "extend", "default": []})


def _flag(name: str, help: str) -> Option:
    return Option(name, help, {"action": "store_true"})


STAGES = ("model", "recentred", "density", "hoisted", "prologue", "gradient", "batched")
"""As `ppl.compile.STAGES`, which the import of JAX stands before; a test holds them together."""

MODEL = "a text model (model.ppl), or a Python function (file.py:function), whose file is run"
DATA = (
    _many(
        "data", "SOURCE", "data files (npz, npy, json, toml, h5, zarr, fits), or NAME=FILE, NAME=FILE:ENTRY, NAME=3.5"
    ),
    _many("set", "DIM=N", "sizes of dims, over those in the model: --set x=512 y=512"),
    _one("index-base", "N", "what the data's indices count from: 0 (default), or 1 as in Stan, R and Julia"),
)
FIX = _many("fix", "NAME=VALUE", "latents held at values: --fix sigma=1.0, or NAME=FILE, NAME=FILE:ENTRY")
DTYPE = _one("dtype", "TYPE", "the type of real numbers: float32 (default) or float64")
PLANNING = (
    _one("mesh", "MESH", "axes of the device mesh and their sizes: --mesh row=4,col=2 (default: one device)"),
    _one("plan", "FILE", "a plan file that meshbayes plan --write made: its mesh and its pins"),
    _one("machine", "NAME", "what the plan is made for: laptop, a100x8, h100x8, h200x8, or a machine file (.toml)"),
    _one("memory", "BYTES", "room on each device: --memory 80GB"),
    _many("pin", "PIN", "fix where a value lives: --pin delta:x=row, --pin y:whole"),
    _many("ban", "PIN", "forbid it: --ban delta:x=col, --ban delta:whole"),
    _many("prefer", "PIN", "have it so if the plan then takes at most 5%% longer: --prefer delta:x=row,within=5%%"),
)
DEVICES = _one("devices", "N", "how many devices, instead of --mesh: the fastest shape of the mesh is searched")
CHAINS = _one("chains", "N", "independent chains (default 4)")
SAMPLER = (
    _one("infer", "PROGRAM", 'an inference program instead of the model file\'s: --infer "hmc() >> nuts(draws = 500)"'),
    CHAINS,
    _one("draws", "N", "transitions per chain after warm-up (default 1000)"),
    _one("warmup", "N", "adapting transitions per chain before (default 1000)"),
    _one("target-accept", "P", "mean acceptance that warm-up aims at (default 0.8)"),
    _one("max-depth", "N", "a NUTS trajectory has at most 2^N - 1 steps (default 10)"),
    _one("thin", "N", "keep every N-th draw (default 1)"),
    _one("seed", "N", "a whole number; the same seed gives the same draws (default 0)"),
    _one("init", "FILE", "where chains start: prior (default), uniform, or a data file of values"),
)
OUTPUT = (
    _one("out", "DIR", "the run folder, new or empty (default: runs/NAME-1, -2, …)"),
    _one("keep", "NAMES", "quantities whose draws are kept: --keep mu,alpha (default: all)"),
    _flag("no-predictive", "no draws from the predictive distributions and no log likelihoods"),
    _flag("quiet", "no progress, no table: only warnings and where the report is"),
)

COMMANDS = {
    c.name: c
    for c in (
        Command(
            "check",
            "MODEL",
            MODEL,
            "MODEL [--data SOURCE ...] [--set DIM=N ...]",
            "model.ppl",
            "parse and type-check a model; with --data also its data",
            {"data": (*DATA, FIX, DTYPE)},
        ),
        Command(
            "graph",
            "MODEL",
            MODEL,
            "MODEL [--stage STAGE] [--svg FILE] [--dot FILE]",
            "model.ppl",
            "show the graph of a model at any stage of the pipeline",
            {
                "graph": (
                    _one("stage", "STAGE", ", ".join(STAGES) + " (default: model)"),
                    _one("svg", "FILE", "write a picture instead of printing the text"),
                    _one("dot", "FILE", "write the graph in Graphviz's language"),
                    CHAINS,
                ),
                "data": (*DATA, DTYPE),
            },
        ),
        Command(
            "plan",
            "MODEL",
            MODEL,
            "MODEL (--mesh MESH | --devices N) [--data SOURCE ...] [--set DIM=N ...]",
            "model.ppl --mesh row=4,col=2",
            "where each tensor of the gradient lives on a mesh, and what that costs",
            {
                "plan": (PLANNING[0], DEVICES, *PLANNING[1:]),
                "output": (
                    _one("write", "FILE", "write the plan as a file that a person can edit, for --plan"),
                    _one(
                        "explain", "VALUE", "the layouts that a value could have, and what each would cost; or memory"
                    ),
                    _flag("where", "where time, bytes and memory go: by node, line of the model and mesh axis"),
                    Option(
                        "diff",
                        "how the plan of file B differs from that of file A",
                        {"metavar": ("A", "B"), "nargs": 2},
                    ),
                    _one("html", "FILE", "write the plan as a page to explore in a browser: graph, memory, costs"),
                    _one("dot", "FILE", "write the plan's graph in Graphviz's language"),
                    _one("mermaid", "FILE", "write the plan's graph as a Mermaid flowchart"),
                    _flag("all", "on a terminal: also the values that have neither a name nor a move"),
                    _flag("json", "print the plan, or the answer to one of these questions, as JSON"),
                    _flag("compile-only", "compile the program too, for up to 256 virtual devices, without running it"),
                ),
                "data (only the sizes matter: without data give --set)": (*DATA, FIX, DTYPE, CHAINS),
            },
            "No device is needed: a plan for 1,024 GPUs can be made and read on a laptop.\n"
            "  meshbayes plan field.ppl --set x=512 y=512 z=512 --mesh row=16,col=8 --machine h200x8\n"
            "  meshbayes plan field.ppl --set x=512 y=512 z=512 --devices 128 --machine h200x8\n"
            "What would more memory save, where does the time go, and what does an edited plan change?\n"
            "  meshbayes plan field.ppl --mesh row=8 --memory 20GB --explain memory\n"
            "  meshbayes plan field.ppl --mesh row=8 --prefer delta:x=row,within=2% --where\n"
            "  meshbayes plan field.ppl --diff plan.toml edited.toml",
        ),
        Command(
            "run",
            "MODEL",
            MODEL,
            "MODEL --data SOURCE ... [--out DIR] [--mesh MESH] [--draws N] ...",
            "model.ppl --data data.npz",
            "sample the posterior of a model; writes a run folder with draws and a report",
            {"data": (*DATA, FIX, DTYPE), "sampler": SAMPLER, "devices": PLANNING, "output": OUTPUT},
            "Options of the command line go before those of the model file's infer line; they are its last stage's,\n"
            "and --chains counts for all stages. Without a program one is chosen from the model's graph.\n"
            "  meshbayes run radon.ppl --data radon.npz --seed 1 --out runs/first\n"
            '  meshbayes run radon.ppl --data radon.npz --infer "hmc(warmup = 300) >> nuts(draws = 500)"\n'
            "  meshbayes run radon.ppl --data floor=floor.npy cty=county.npy y=y.npy --mesh row=4",
        ),
        Command(
            "predict",
            "MODEL",
            MODEL,
            "MODEL --out FILE [--draws N] [--data SOURCE ...] [--fix NAME=VALUE ...] [--mesh MESH] ...",
            "model.ppl --out draw.npz",
            "draw all quantities of a model from its prior, and what it would observe",
            {
                "draws": (
                    _one("draws", "N", "so many, along a first dim draw (default: one, without such a dim)"),
                    _one("seed", "N", "a whole number; the same seed gives the same draws (default 0)"),
                ),
                "data (what the model observes is not needed)": (*DATA, FIX, DTYPE),
                "devices": PLANNING,
                "output": (
                    _one("out", "FILE", "the file to write: .npz, or .zarr with the names of dims"),
                    _flag("quiet", "no list of what is written: only warnings"),
                ),
            },
            "One draw is data for the same model: what it observes has the model's own names and dims.\n"
            "  meshbayes predict model.ppl --seed 1 --out mock.npz\n"
            "  meshbayes run model.ppl --data mock.npz\n"
            "  meshbayes predict model.ppl --fix sigma=0.1 --draws 100 --out draws.zarr --mesh row=4,col=2",
        ),
        Command(
            "report",
            "DIR",
            "a run folder",
            "DIR [--out FILE]",
            "runs/radon-1",
            "write the report of a run folder again",
            {"output": (_one("out", "FILE", "where to (default: report.html in the folder)"),)},
        ),
        Command(
            "calibrate",
            "",
            "",
            "[--mesh MESH | --devices N] [--out FILE] [--quick]",
            "--devices 8 --out here.toml",
            "time the devices at hand and write a machine file that plans can be made for",
            {
                "devices": (
                    _one("mesh", "MESH", "time collectives along these axes and their products: --mesh row=4,col=2"),
                    _one("devices", "N", "so many, as a mesh of two axes (default: all; on a CPU 8 virtual ones)"),
                ),
                "timings": (
                    _flag("quick", "fewer sizes and repeats, in some ten seconds"),
                    _one("seconds", "N", "start no more timings after this time (default 120, quick 10)"),
                ),
                "output": (_one("out", "FILE", "the machine file (default machine.toml)"),),
            },
            "Other programs on the computer make the figures worse: let it rest meanwhile.\n"
            "  meshbayes calibrate --mesh row=4,col=2 --out here.toml\n"
            "  meshbayes plan field.ppl --set x=512 y=512 z=512 --mesh row=4,col=2 --machine here.toml",
        ),
    )
}
"""Every command by name, in the order in which help shows them."""
