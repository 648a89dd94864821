"""A recurrence with an inverse in a model: its gradient is that of the kept states."""

import numpy as np
import pytest

import ppl
from ir.ops.control import has_inverse, scan
from ir.passes.expand import predict


def test_a_model_may_go_through_one_between_its_sites():
    """Data at the end of 6 steps, the first state and the stiffness latent: with an inverse and without."""

    def model(inverse: bool):
        @ppl.model
        def spring(seen: ppl.Data["obs"]):
            k = ppl.sample("k", ppl.LogNormal(0, 0.3))
            x = ppl.sample("x", ppl.Normal(0, 1), dims="obs")

            def step(carries, _, shared):
                p = carries[1] - 0.2 * shared[0] * carries[0]
                return (carries[0] + 0.2 * p, p), ()

            def undo(carries, _, shared):
                x = carries[0] - 0.2 * carries[1]
                return x, carries[1] + 0.2 * shared[0] * x

            (end, _), _ = scan("t", step, [x, 0.0 * x], shared=[k], length=6, inverse=undo if inverse else None)
            ppl.observe("y", ppl.Normal(end, 0.1), seen)
            ppl.sample("again", ppl.Normal(end, 0.1), dims="obs", generated=True)

        return ppl.compile(spring, {"seen": np.array([0.3, -0.1, 0.8])}, dtype="float64")

    back, kept = model(True), model(False)
    assert [n.op.name for n in back.programs["gradient"].walk()].count("scan") == 2
    at = {name: np.full(t.shape, 0.3) for name, t in back.latents.items()}
    (value, found), (other, wanted) = (m.value_and_gradient(at) for m in (back, kept))
    assert value == pytest.approx(other, rel=1e-12)
    for name, x in wanted.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-10, err_msg=name)
    assert has_inverse(next(n.op for n in predict(back.bound.program).nodes if n.op.regions()))
