"""Bringing the parts of a multi-dim transform next to each other again.

The gradient of an `irfft` ends in a conjugate and a weight, which stand between the 1-D transforms of one multi-dim
one. Both commute with a transform along another dim:

    ifft(conj(z) w) = conj(fft(z)) w / n          fft(conj(z) w) = conj(ifft(z)) w n

for w without the transformed dim of size n. Neighbours can then be done in one call where no reshard lies between.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..build import binary, emit
from ..graph import Node, Program, Value
from ..op import Op
from ..ops.complex_parts import Conj
from ..ops.fft import FFT, IRFFT, RFFT
from .rewrite import Scope, rewrite


def align_transforms(program: Program) -> Program:
    """The program with conjugates and weights moved out from between transforms of neighbouring dims."""
    return rewrite(program, _rule)


def _rule(node: Node, scope: Scope) -> Sequence[Value] | None:
    if isinstance(node.op, FFT) and not node.op.also:
        return _outward(node.op, node.operands[0], scope)
    if isinstance(node.op, IRFFT) and not node.op.also:
        return _inward(node.op, node.operands[0], scope)
    return None


def _outward(op: FFT, x: Value, scope: Scope) -> Sequence[Value] | None:
    """A transform of conj(rfft(…)) × weight is the conjugate of a transform of rfft(…), × weight."""
    z, weight = _conjugated(x, op.dim, scope)
    if z is None or not isinstance(scope.op(z), RFFT):
        return None
    size = x.type[op.dim]
    made = emit(Conj(), emit(FFT(op.dim, op.freq, not op.inverse), z))
    if weight is not None:
        made = binary("mul", made, weight)
    return (_times(made, 1.0 / size if op.inverse else float(size)),)


def _inward(op: IRFFT, x: Value, scope: Scope) -> Sequence[Value] | None:
    """irfft of conj(fft(z)) × weight is irfft of a transform of conj(z) × weight."""
    w, weight = _conjugated(x, None, scope)
    inner = scope.node(w) if w is not None else None
    if w is None or inner is None or not isinstance(inner.op, FFT) or inner.op.also:
        return None
    if weight is not None and inner.op.freq in weight.type:
        return None
    z = emit(Conj(), inner.operands[0])
    if weight is not None:
        z = binary("mul", z, weight)
    size = w.type[inner.op.freq]
    moved = emit(FFT(inner.op.dim, inner.op.freq, not inner.op.inverse), z)
    made = emit(op, moved)
    return (_times(made, 1.0 / size if inner.op.inverse else float(size)),)


def _conjugated(x: Value, dim: str | None, scope: Scope) -> tuple[Value | None, Value | None]:
    """(z, w) where x is conj(z) × w and w, real, lacks `dim`; (None, None) where it is not of that form."""
    node = scope.node(x)
    if node is None:
        return None, None
    if isinstance(node.op, Conj):
        return node.operands[0], None
    if node.op is None or node.op != Op.table["mul"]():
        return None, None
    for a, b in (node.operands, node.operands[::-1]):
        inner = scope.node(a)
        if inner is not None and isinstance(inner.op, Conj) and b.type.is_real and (dim is None or dim not in b.type):
            return inner.operands[0], b
    return None, None


def _times(x: Value, factor: float) -> Value:
    return binary("mul", x, factor)
