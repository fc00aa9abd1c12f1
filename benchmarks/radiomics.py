"""Time and accuracy of the 102 radiomics features, beside PyRadiomics where it is installed.

Run `python benchmarks/radiomics.py`. Prints milliseconds per 128 x 128 image, the smallest of five
rounds, as CPU time of the process and as time on the wall, with one thread and with all; then the largest relative
difference to the stored values of PyRadiomics.
"""

import csv
import importlib.util
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from lib.metrics.fidelity.radiomics import RADIOMICS_FEATURES, radiomics

ORACLES = Path(__file__).parents[1] / "tests" / "oracles"
ROUNDS = 5


def drawn_images(n: int = 128, size: int = 128) -> dict[str, np.ndarray]:
    """Two kinds of `n` uint8 images: smooth as a mammogram (8 to 9 levels), and white noise, the slowest case."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(n, size, size))
    smooth = gaussian_filter(noise, (0, 12, 12)) * 700 + gaussian_filter(noise[::-1], (0, 1, 1)) * 15 + 130
    return {
        "smooth": smooth.clip(0, 200).astype(np.uint8),
        "noise": rng.integers(0, 256, noise.shape).astype(np.uint8),
    }


def milliseconds(compute, images: np.ndarray) -> tuple[float, float]:
    """Smallest CPU time and wall time per image of `compute(images)` over the rounds."""
    compute(images[:2])
    rounds = []
    for _ in range(ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        compute(images)
        rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
    return tuple(np.min(rounds, axis=0) / len(images) * 1e3)


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest relative difference of any feature of any image."""
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1e-12)).max())


def difference_to_stored(name: str, **settings) -> float:
    """Largest relative difference of any feature of the stored textures to the oracle `name`."""
    with (ORACLES / name).open(newline="") as file:
        expected = np.array([row[1:] for row in csv.reader(file)][1:], dtype=float)
    with np.load(ORACLES / "radiomics_images.npz") as file:
        found = radiomics(file["images"], **settings)
    return largest_difference(found, expected)


def peer(images: np.ndarray) -> np.ndarray:
    """The same features by PyRadiomics, one image after another (its mask check refuses a mask of ones)."""
    # This file's folder leads the search path and would offer this file as the package of that name.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).parent.resolve()]
    import SimpleITK as sitk
    from radiomics import featureextractor, imageoperations, setVerbosity

    setVerbosity(50)
    imageoperations.getMask = lambda mask, **_: sitk.Cast(mask, sitk.sitkUInt32)
    extractor = featureextractor.RadiomicsFeatureExtractor(binWidth=25, correctMask=True, minimumROIDimensions=1)
    extractor.disableAllFeatures()
    for family in {name.split("_")[0] for name in RADIOMICS_FEATURES}:
        extractor.enableFeatureClassByName(family)
    mask = sitk.GetImageFromArray(np.ones(images.shape[1:], dtype=np.uint8))
    results = [extractor.execute(sitk.GetImageFromArray(image.astype(np.float64)), mask) for image in images]
    return np.array([[float(result[f"original_{name}"]) for name in RADIOMICS_FEATURES] for result in results])


def main() -> None:
    """Print the table."""
    print(f"{'images':8}{'by':>24}{'CPU ms':>10}{'wall ms':>10}")
    for kind, images in drawn_images().items():
        for threads in dict.fromkeys((1, os.cpu_count())):
            torch.set_num_threads(threads)
            cpu, wall = milliseconds(radiomics, images)
            print(f"{kind:8}{f'ours, {threads} thread' + 's' * (threads > 1):>24}{cpu:10.2f}{wall:10.2f}")
        if importlib.util.find_spec("SimpleITK"):
            cpu, wall = milliseconds(peer, images[:16])
            print(f"{kind:8}{'PyRadiomics':>24}{cpu:10.2f}{wall:10.2f}")
            difference = largest_difference(radiomics(images[:16]), peer(images[:16]))
            print(f"{kind:8}{'largest difference':>24}{difference:20.1e}")
    print(f"\nlargest relative difference to PyRadiomics's stored values, {len(RADIOMICS_FEATURES)} features")
    print(f"  pixels as numbers   {difference_to_stored('radiomics_images_float64.csv'):.1e}")
    print(f"  uint8 with overflow {difference_to_stored('radiomics_images.csv', wrap_uint8=True):.1e}")


if __name__ == "__main__":
    main()
