"""Reading a command line: argparse takes it apart, and what is wrong becomes a `Diagnostic` that says what would do."""

from __future__ import annotations

import argparse
import difflib
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ir.errors import Diagnostic

from .options import COMMANDS, Command

OVERVIEW = """\
usage: meshbayes COMMAND ...

Bayesian inference for models with named dimensions, compiled to one program over a mesh of devices.

{commands}

  meshbayes COMMAND --help        the options of a command, with examples
  meshbayes --version             versions of MeshBayes, JAX and Python

A first run:
  meshbayes check model.ppl
  meshbayes run model.ppl --data data.npz

Exit codes: 0 done; 1 the run failed; 2 the input is wrong; 130 interrupted."""

FOREIGN_COMMANDS = {
    **dict.fromkeys(("sample", "fit", "infer", "mcmc", "nuts", "start"), "run"),
    **dict.fromkeys(("compile", "validate", "lint", "parse", "test"), "check"),
    **dict.fromkeys(("show", "draw", "print", "dump", "ir"), "graph"),
    **dict.fromkeys(("simulate", "generate", "forward", "prior", "mock"), "predict"),
    **dict.fromkeys(("layout", "shard", "optimize"), "plan"),
    **dict.fromkeys(("bench", "benchmark", "measure", "profile", "tune"), "calibrate"),
    **dict.fromkeys(("html", "summary", "summarize", "plot", "diagnose"), "report"),
}
FOREIGN_OPTIONS = {
    **dict.fromkeys(("dataset", "input", "file", "d"), "data"),
    **dict.fromkeys(("output", "outdir", "output_dir", "output_file", "dir", "o"), "out"),
    **dict.fromkeys(("random_seed", "rng_seed", "rng_key", "prng_seed"), "seed"),
    **dict.fromkeys(("devices", "num_devices", "n_devices", "device_count", "gpus", "shards"), "mesh"),
    **dict.fromkeys(("precision", "x64", "double", "float64", "enable_x64"), "dtype"),
    **dict.fromkeys(("dim", "dims", "size", "sizes"), "set"),
    **dict.fromkeys(("inits", "initial", "init_values"), "init"),
    **dict.fromkeys(("silent", "q", "no_progress"), "quiet"),
    **dict.fromkeys(("sampler", "algorithm", "method", "kernel"), "infer"),
    **dict.fromkeys(("save", "vars", "var_names", "monitor"), "keep"),
}
"""Other programs' spellings of our options; those of samplers are in `ppl.infer.program`."""


@dataclass(frozen=True)
class Request:
    """What was asked for: a command with its arguments, or a text to print."""

    command: str = ""
    arguments: Any = None
    text: str | None = None


def parse(argv: Sequence[str]) -> Request:
    """The command line taken apart; everything that is wrong with it is a `Diagnostic` of kind "argument"."""
    words = [w for w in argv if w != "--debug"]
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words or words[0] in ("-h", "--help"):
        return Request(text=overview())
    if words[0] in ("-V", "--version"):
        return Request(text=version())
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise _unknown_command(name)
    command = COMMANDS[name]
    parser = make_parser(command)
    if "-h" in rest or "--help" in rest:
        return Request(text=parser.format_help().rstrip())
    _check_options(name, rest, _options(parser))
    arguments, extra = parser.parse_known_args(rest)
    if extra:
        raise Diagnostic("argument", f"nothing is expected at '{extra[0]}'", hint=_expected(command))
    subject = command.subject
    if subject and getattr(arguments, subject.lower()) is None:
        hint = f"write it first: meshbayes {name} {command.example}"
        raise Diagnostic("argument", f"meshbayes {name} needs a {subject}", hint=hint)
    arguments.argv = list(argv)
    return Request(name, arguments)


class Parser(argparse.ArgumentParser):
    """argparse without its usage dump; what begins with a minus and a digit is a value."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        found = re.fullmatch(r"argument (\S+?)(?:/\S+)?: expected (one|at least one|\d+) arguments?", message)
        if found is None:
            raise Diagnostic("argument", message, hint=f"meshbayes {self.prog} --help shows the options")
        option = self._option_string_actions[found[1]]
        shown = option.metavar if isinstance(option.metavar, str) else " ".join(option.metavar or ("VALUE",))
        raise Diagnostic(
            "argument", f"a value is missing after {found[1]}", hint=f"write {found[1]} {shown}: {option.help}"
        )


def make_parser(command: Command) -> Parser:
    """The parser of one command."""
    parser = Parser(
        prog=command.name,
        usage=f"meshbayes {command.name} {command.usage}",
        description=command.description,
        epilog=command.epilog,
        add_help=False,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=110),
    )
    if command.subject:
        parser.add_argument(command.subject.lower(), nargs="?", metavar=command.subject, help=command.subject_help)
    for title, options in command.groups.items():
        group = parser.add_argument_group(title)
        for option in options:
            group.add_argument(f"--{option.name}", help=option.help, **option.how)
    group = parser.add_argument_group("help")
    group.add_argument("--help", action="store_true", help="this text")
    group.add_argument("--debug", action="store_true", help="show tracebacks and the warnings of libraries")
    return parser


def overview() -> str:
    """What `meshbayes` alone prints."""
    lines = [f"  meshbayes {f'{c.name} {c.subject}':<20}  {c.description.splitlines()[0]}" for c in COMMANDS.values()]
    return OVERVIEW.format(commands="\n".join(lines))


def version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    def of(package: str) -> str:
        try:
            return installed(package)
        except PackageNotFoundError:
            return "not installed"

    return f"meshbayes {of('meshbayes')} (jax {of('jax')}, Python {platform.python_version()})"


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {s for action in parser._actions for s in action.option_strings}


def _check_options(name: str, words: Iterable[str], known: set[str]) -> None:
    """Every word that looks like an option must be one of the command's."""
    for word in words:
        option = word.partition("=")[0]
        if not word.startswith("-") or re.fullmatch(r"-|-?\.?\d.*", word) or option in known:
            continue
        raise Diagnostic("argument", f"meshbayes {name} has no option {option}", hint=_option_hint(name, option, known))


def _option_hint(name: str, option: str, known: set[str]) -> str:
    plain = option.lstrip("-").replace("-", "_").lower()
    meant = f"--{FOREIGN_OPTIONS.get(plain, plain).replace('_', '-')}"
    if meant not in known:
        from ..infer.program import FOREIGN

        meant = f"--{FOREIGN.get(plain, plain).replace('_', '-')}"
    if meant in known:
        return f"did you mean {meant}?"
    elsewhere = [c.name for c in COMMANDS.values() if meant[2:] in {o.name for g in c.groups.values() for o in g}]
    if elsewhere:
        return f"{meant} is an option of meshbayes {' and '.join(elsewhere)}"
    if near := difflib.get_close_matches(option, known, 1, 0.7):
        return f"did you mean {near[0]}?"
    return f"meshbayes {name} --help lists its options"


def _unknown_command(name: str) -> Diagnostic:
    if name.startswith("-"):
        return Diagnostic("argument", f"a command must come before {name}", hint=_commands())
    if name.endswith((".ppl", ".py")) or ".py:" in name:
        hint = f"write what to do with the model: meshbayes check {name}, or meshbayes run {name} --data FILE"
        return Diagnostic("argument", f"'{name}' is not a command", hint=hint)
    meant = FOREIGN_COMMANDS.get(name.lower()) or next(iter(difflib.get_close_matches(name.lower(), COMMANDS, 1)), None)
    hint = f"did you mean meshbayes {meant}?" if meant else _commands()
    return Diagnostic("argument", f"'{name}' is not a command", hint=hint)


def _commands() -> str:
    return f"the commands are {', '.join(COMMANDS)}; meshbayes --help describes them"


def _expected(command: Command) -> str:
    return f"the form is: meshbayes {command.name} {command.usage}"
