"""The Fisher information of everything that a model says about its latents, as products with its factors.

The metric is J^T I J: J is the derivative of the sites' coordinates by the latents, I their information, diagonal
(`ir.dist.Informed`). The program made here gives the coordinates (whose forward derivative is J v), sqrt(I) w, and
J^T w by reverse mode, for a cotangent w in the coordinates' own dims:

| output                 | value                                                |
|------------------------|------------------------------------------------------|
| coordinate:SITE.NAME   | a coordinate, in the layout of its cotangent         |
| root:SITE.NAME         | sqrt(I) w, likewise                                  |
| grad:LATENT            | J^T w, in the layout of the latent                   |

The inputs `cotangent.SITE.NAME` are w.
"""

from __future__ import annotations

from ..build import Builder, constant, emit
from ..errors import Diagnostic
from ..graph import Program, Value
from ..op import Op
from ..ops.order import reorder
from ..ops.reduce import Sum
from ..ops.sites import Observe, Site
from .differentiate import differentiate
from .rewrite import with_fresh_regions

COTANGENT = "cotangent."


def check_informed(told: Program, model: Program) -> list[str]:
    """The coordinates that depend on latents, by `SITE.NAME`; a `Diagnostic` where the information of one is unknown.

    `told` is what `ir.passes.expand.informed` made of `model`.
    """
    reached = {i.name for i in told.inputs_of("latent")}
    for node in told.nodes:
        if any(v.name in reached for v in node.operands):
            reached |= {v.name for v in node.results}
    found = []
    for output, value in told.outputs:
        kind, _, name = output.partition(":")
        if kind != "coordinate" or value.name not in reached:
            continue
        if f"information:{name}" not in told.results:
            raise _unknown(name, model)
        found.append(name)
    return found


def information(told: Program, names: list[str]) -> Program:
    """The program of the module's table from one that has `coordinate:` and `information:` of the named ones."""
    latents = [i.name for i in told.inputs_of("latent")]
    with Builder(told.name) as b:
        env = {i.name: b.input(i.name, i.type, i.role) for i in told.inputs}
        for node in told.nodes:
            operands = tuple(env[v.name] for v in node.operands)
            wished = [v.name for v in node.results]
            made = b.emit_all(with_fresh_regions(node.op, b), *operands, span=node.span, names=wished)
            env |= {old.name: new for old, new in zip(node.results, made, strict=True)}
        outputs, ties, score = {}, {}, None
        for name in names:
            value, each = (env[told.results[f"{kind}:{name}"].name] for kind in ("coordinate", "information"))
            w = b.input(COTANGENT + name, value.type)
            rooted = w * emit(Op.table["sqrt"](), each)
            outputs[f"coordinate:{name}"], outputs[f"root:{name}"] = value, reorder(rooted, value.dims)
            ties |= {f"{kind}:{name}": w.name for kind in ("coordinate", "root")}
            term = _inner(w, value)
            score = term if score is None else score + term
        outputs["score"] = constant(0.0, "f64") if score is None else score
        program = b.finish(outputs, ties)
    return differentiate(program, latents, "score")


def _inner(a: Value, b: Value) -> Value:
    """The sum of products, a scalar in f64."""
    product = a * b
    return emit(Sum(product.dims, "f64"), product)


def _unknown(name: str, model: Program) -> Diagnostic:
    """The lesson about a coordinate without a known information."""
    site, _, parameter = name.partition(".")
    node = next((n for n in model.walk() if isinstance(n.op, Site) and getattr(n.op, "site", None) == site), None)
    if node is None or not parameter:
        message = f'the factor "{site}" depends on latents, and its Fisher information is not known'
    else:
        dist = node.op.dist.name  # type: ignore[attr-defined]
        seen = "observed" if isinstance(node.op, Observe) else "latent"
        message = f'{parameter} of {dist} depends on latents in the {seen} "{site}", and what it tells is not known'
    hint = "mgvi needs the Fisher information: use laplace, advi or nuts, or a distribution that has it, as Normal"
    return Diagnostic("type", message, hint=hint).at(node.span if node else None)


__all__ = ["COTANGENT", "check_informed", "information"]
