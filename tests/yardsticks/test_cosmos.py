"""Real input: the HST COSMOS shear catalogue (Schrabback et al. 2010) through the mass-map example.

The posterior mean map agrees with the Wiener filter at the posterior-mean hyper-parameters, computed with NumPy alone:
their correlation is above 0.99, where Monte Carlo error and the spread of the hyper-parameters leave it.
"""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest

import ppl
from tests.yardsticks.mass_map_wiener import wiener_filter

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("MESHBAYES_DATA", ROOT.parent / "shared" / "data")) / "cosmos_hst_shear"
PIXELS = 60


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no COSMOS catalogue in {FOLDER}; set MESHBAYES_DATA")
def test_the_mean_map_of_cosmos_is_its_wiener_filter():
    data = runpy.run_path(str(ROOT / "examples" / "01_cosmos_data.py"))["bin_catalogue"](FOLDER, PIXELS)
    model = ppl.load(ROOT / "examples" / "01_mass_map.ppl")
    posterior = ppl.compile(model, data, sizes={"x": PIXELS, "y": PIXELS})
    result = posterior.run(ppl.nuts(chains=2, draws=400, warmup=300), seed=0, predictive=False)
    amp, slope = (float(result[n].mean()) for n in ("amp", "slope"))
    _, expected = wiener_filter(data, amp, slope)
    kappa = result["kappa"].mean(axis=(0, 1))
    likeness = np.corrcoef(kappa.ravel(), expected.ravel())[0, 1]
    print(f"amp {amp:.3f}, slope {slope:.2f}, correlation {likeness:.4f}")
    assert 0.1 < amp < 0.4 and 1.2 < slope < 2.6
    assert likeness > 0.99
    assert abs(kappa.std() / expected.std() - 1) < 0.05
