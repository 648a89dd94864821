"""Real input for 01_mass_map.ppl: the HST COSMOS shear catalogue (Schrabback et al. 2010, A&A 516, A63) in pixels.

    python examples/01_cosmos_data.py FOLDER --pixels 180 --out cosmos.npz
    meshbayes run examples/01_mass_map.ppl --data cosmos.npz --set x=180 --set y=180

FOLDER holds ra.fits, dec.fits, e1.fits, e2.fits and nhweight_int.fits, one value per galaxy. The pixels cover a square
of 104.4 arcmin, wider than the survey, so that the periodic field does not tie its opposite edges together.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

SIDE = 104.4  # [arcmin]


def bin_catalogue(folder: Path, pixels: int) -> dict[str, np.ndarray]:
    """Weighted mean ellipticities per pixel, their standard deviations, and where there are galaxies."""
    from astropy.io import fits

    names = ("ra", "dec", "e1", "e2", "nhweight_int")
    missing = [n for n in names if not (folder / f"{n}.fits").exists()]
    if missing:
        sys.exit(f"{folder} has no {', '.join(f'{n}.fits' for n in missing)}")
    ra, dec, e1, e2, weight = (np.ravel(fits.getdata(folder / f"{n}.fits")).astype(float) for n in names)
    middle = 0.5 * (dec.min() + dec.max())
    along_ra = (ra - 0.5 * (ra.min() + ra.max())) * np.cos(np.radians(middle)) * 60  # [arcmin]
    along_dec = (dec - middle) * 60
    x, y = (np.floor((a / SIDE + 0.5) * pixels).astype(int) for a in (along_ra, along_dec))

    def total(values: np.ndarray) -> np.ndarray:
        found = np.zeros((pixels, pixels))
        np.add.at(found, (x, y), values)
        return found

    sum_w, seen = total(weight), total(np.ones_like(weight)) > 0
    safe = np.where(seen, sum_w, 1.0)
    spread = np.sqrt(np.average(0.5 * (e1**2 + e2**2), weights=weight))  # of one galaxy, intrinsic shape and noise
    return {
        "side_x": np.float64(SIDE),
        "side_y": np.float64(SIDE),
        "e1": np.where(seen, total(weight * e1) / safe, 0.0),
        "e2": np.where(seen, total(weight * e2) / safe, 0.0),
        "noise": np.where(seen, spread * np.sqrt(total(weight**2)) / safe, 1.0),
        "mask": seen,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pixels", type=int, default=180)
    parser.add_argument("--out", type=Path, default=Path("cosmos.npz"))
    options = parser.parse_args()
    maps = bin_catalogue(options.folder, options.pixels)
    np.savez_compressed(options.out, **maps)
    mask, noise = maps["mask"], maps["noise"]
    print(f"{options.out}: {options.pixels}² pixels, {mask.mean():.0%} with galaxies, noise {noise[mask].mean():.3f}")
