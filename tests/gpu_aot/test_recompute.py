"""Recomputation on GPUs: XLA:GPU keeps the fences that XLA:CPU removes, so here what the plan says is what is run."""

import pytest

import ppl
from planner import make_plan, peak_bytes

from .on_gpus import compile_for_gpus, needs_compiler

FIELD = """
model field
dim x = 256, y = 256, z = 256
dim kx = freq(x), ky = freq(y), kz = rfreq(z)
const box: real<lower = 0>
data counts[x, y, z]: int, nbar[x, y, z]: real<lower = 0>

amp  ~ LogNormal(0, 0.5)
bias ~ TruncatedNormal(1.5, 0.5, lower = 0)
white[x, y, z]  ~ Normal(0, 1)
k2[kx, ky, kz]  = wavenumber(kx, box)^2 + wavenumber(ky, box)^2 + wavenumber(kz, box)^2
delta[x, y, z]  = irfft(sqrt(amp / (k2 + 1e-4)) * rfft(white, x -> kx, y -> ky, z -> kz), kx -> x, ky -> y, kz -> z)
counts[x, y, z] ~ Poisson(nbar * exp(bias * delta))
"""


@pytest.fixture(scope="module")
def program():
    return ppl.plan(ppl.loads(FIELD), mesh="gpu=4", machine="h200x8", chains=1).program


@needs_compiler
def test_a_plan_that_recomputes_does_what_it_says(program):
    from ir.mesh import Mesh

    free = make_plan(program, Mesh.parse("gpu=4"), machine="h200x8", memory=0)
    tight = make_plan(program, free.mesh, machine="h200x8", memory=0.9 * free.prediction.peak_bytes)
    print(tight.recompute)
    for plan in (free, tight):
        made = compile_for_gpus(program, plan)
        print(peak_bytes(program, plan), made.bytes, made.transforms)
