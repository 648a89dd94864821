"""Models: what a text file or a Python function declares, and the trace that turns it into a program."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic, Source, Span
from ir.graph import Program, Value

from ..infer.written import Written
from ..io.declare import Declaration
from .context import Context, DimSpec, python_span


@dataclass(frozen=True)
class Model:
    """A model before it meets data: its dims, its declared inputs, and a body that states it.

    `body(context, inputs)` runs the statements; `text` is what the run folder keeps; `infer` the inference program that
    stands beside the model in its file.
    """

    name: str
    dims: Mapping[str, DimSpec]
    declarations: tuple[Declaration, ...]
    body: Callable[[Context, Mapping[str, Value]], None] = field(repr=False)
    text: str = field(default="", repr=False)
    infer: Written | None = None

    def sizes(self, found: Mapping[str, int], overrides: Mapping[str, int] | None = None) -> dict[str, int]:
        """The size of every dim from those of the base dims; raises `Diagnostic` where one is not known."""
        known = {n: s.size for n, s in self.dims.items() if s.size is not None} | dict(found) | dict(overrides or {})

        def resolve(name: str, seen: tuple[str, ...] = ()) -> int:
            spec = self.dims[name]
            if spec.rule is None:
                if name in known:
                    return known[name]
                raise Diagnostic(
                    "data",
                    f"the size of dim '{name}' is not known",
                    hint=f"give data that has it, write dim {name} = 100 in the model, or --set {name}=100",
                ).at(spec.span)
            if name in seen or spec.of not in self.dims:
                raise Diagnostic(
                    "type",
                    f"the size of dim '{name}' follows from '{spec.of}', which is "
                    + ("itself" if name in seen else "not a dim"),
                    hint="name a declared dim, as dim kx = freq(x)",
                ).at(spec.span)
            return spec.derived_size(resolve(spec.of, (*seen, name)))

        return {name: resolve(name) for name in self.dims}

    def trace(self, sizes: Mapping[str, int], real: str = "f32") -> Program:
        """The model as a program with sites; its data are inputs. `real` is the dtype of real numbers: f32 or f64."""
        builder = Builder(self.name, real)
        with Context(builder, self.dims, sizes) as context:
            inputs = {d.name: builder.input(d.name, input_type(d, sizes, real), "data") for d in self.declarations}
            for d in self.declarations:
                context.sites[d.name] = d.span
            context.sites = {}
            self.body(context, inputs)
            return builder.finish({})

    def __call__(self, *_: Any, **__: Any) -> None:
        raise Diagnostic(
            "argument",
            f'the model "{self.name}" is not called: it is compiled with data',
            hint=f"ppl.compile({self.name}, data=dict(…)).run(ppl.nuts(chains=4))",
        )


def input_type(d: Declaration, sizes: Mapping[str, int], real: str) -> TensorType:
    """The type of a declared input."""
    complex_ = "c64" if real == "f32" else "c128"
    dtype = {"real": real, "int": "i32", "bool": "bool", "complex": complex_, "index": "i32"}[d.type]
    return TensorType(tuple(Dim(n, sizes[n]) for n in d.dims), dtype)


# --- declaring inputs in Python ---


@dataclass(frozen=True)
class InputSpec:
    """What an annotation says of a model function's argument: made by `ppl.Data["obs"]` and its siblings."""

    kind: str
    dims: tuple[str, ...]
    index_dim: str | None = None
    lower: float | None = None
    upper: float | None = None

    def __call__(self, *, lower: float | None = None, upper: float | None = None) -> InputSpec:
        """The same input with inclusive bounds: `ppl.Data["obs"](lower=0)`."""
        return dataclasses.replace(self, lower=lower, upper=upper)


class _Declare:
    """`ppl.Data["x", "y"]`: subscripting names the dims; `ppl.Data` alone, or `ppl.Data[()]`, is a scalar."""

    def __init__(self, kind: str, doc: str):
        self.kind, self.__doc__ = kind, doc

    def __getitem__(self, dims: str | tuple[str, ...]) -> InputSpec:
        dims = (dims,) if isinstance(dims, str) else tuple(dims)
        if self.kind == "index":
            if not dims:
                raise Diagnostic(
                    "type", "an index needs the dim that it points into", hint='ppl.Index["county", "obs"]'
                )
            return InputSpec("index", dims[1:], dims[0])
        return InputSpec(self.kind, dims)

    def __call__(self, **bounds: float) -> InputSpec:
        return InputSpec(self.kind, ())(**bounds)


Data = _Declare("real", 'Real data with the named dims: ppl.Data["obs"].')
Count = _Declare("int", 'Whole numbers with the named dims: ppl.Count["obs"].')
Flag = _Declare("bool", 'Conditions with the named dims: ppl.Flag["x", "y"].')
Index = _Declare("index", 'Indices into the first dim, with the other dims: ppl.Index["county", "obs"].')
Complex = _Declare("complex", 'Complex data with the named dims: ppl.Complex["kx"].')


def freq(of: str) -> DimSpec:
    """A dim of the frequencies of a full transform of the dim `of`; for `ppl.model(dims=…)`."""
    return DimSpec("", rule="freq", of=of)


def rfreq(of: str) -> DimSpec:
    """A dim of the half spectrum of a real transform of the dim `of`: of // 2 + 1 frequencies."""
    return DimSpec("", rule="rfreq", of=of)


def alias(of: str) -> DimSpec:
    """A dim of the same size as `of` under another name."""
    return DimSpec("", rule="alias", of=of)


def model(
    function: Callable[..., None] | None = None,
    *,
    dims: Mapping[str, int | DimSpec] | Iterable[str] = (),
    name: str = "",
) -> Any:
    """Makes a function a model: its arguments are the data, declared by annotations, its body states the model.

    `dims` gives sizes or rules to dims: `dims={"x": 64, "kx": ppl.freq("x")}`; dims that only occur in annotations get
    their sizes from the data. Used as `@ppl.model` or `@ppl.model(dims=…)`.
    """
    if function is None:
        return lambda f: model(f, dims=dims, name=name)
    given = dict(dims) if isinstance(dims, Mapping) else dict.fromkeys(dims)
    specs: dict[str, DimSpec] = {}
    source = _source(function)
    for dim, size in given.items():
        if isinstance(size, DimSpec):
            specs[dim] = DimSpec(dim, None, size.rule, size.of, source)
        else:
            specs[dim] = DimSpec(dim, size, span=source)
    declarations = tuple(_declarations(function, source))
    for d in declarations:
        for dim in (*d.dims, *((d.index_dim,) if d.index_dim else ())):
            specs.setdefault(dim, DimSpec(dim, span=source))

    def body(context: Context, inputs: Mapping[str, Value]) -> None:
        context.builder.find_span = python_span
        function(**inputs)

    try:
        text = inspect.getsource(function)
    except OSError:
        text = ""
    return Model(name or function.__name__, specs, declarations, body, text)


def _declarations(function: Callable[..., None], span: Span | None) -> Iterable[Declaration]:
    hints = inspect.get_annotations(function, eval_str=True)
    for arg, parameter in inspect.signature(function).parameters.items():
        spec = hints.get(arg, Data)
        if isinstance(spec, _Declare):
            spec = InputSpec(spec.kind, ())
        if not isinstance(spec, InputSpec):
            raise Diagnostic(
                "type",
                f'the argument "{arg}" of the model is annotated with {spec!r}',
                hint='declare data as ppl.Data["obs"], ppl.Count["obs"], ppl.Flag["obs"] or ppl.Index["county", "obs"]',
            ).at(span)
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        yield Declaration(arg, spec.dims, spec.kind, spec.index_dim, spec.lower, spec.upper, default, span)  # type: ignore[arg-type]


def _source(function: Callable[..., None]) -> Span | None:
    try:
        lines, start = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or "?"
        with open(file, encoding="utf-8") as handle:
            source = Source(file, handle.read())
    except (OSError, TypeError):
        return None
    first = next((i for i, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
    line = start + first
    text = source.line(line)
    indent = len(text) - len(text.lstrip())
    return Span(source, line, indent + 1, line, len(text) + 1)
