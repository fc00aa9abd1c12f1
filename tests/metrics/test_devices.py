"""Metrics that take tensors give what they give of arrays, wherever the tensors lie."""

import dataclasses

import numpy as np
import pytest
import torch

from lib.metrics.diversity.ms_ssim import ms_ssim
from lib.metrics.diversity.prdc import dispersion, inside, support
from lib.metrics.fidelity.frechet import frechet_distance, frechet_of_subsets
from lib.metrics.fidelity.kernel import kernel_distance
from lib.metrics.fidelity.radiomics import radiomics
from lib.metrics.neighbours.grey_rows import GreyRows
from lib.metrics.neighbours.search import nearest
from lib.metrics.privacy.attacks.distance import density_attack, pairwise_attack
from lib.metrics.privacy.copying.copy_test import band_pass, match

rng = np.random.default_rng(0)
FIRST, SECOND = rng.normal(size=(2, 40, 6)).astype(np.float32)
IMAGES, OTHERS = rng.integers(0, 256, (2, 12, 32, 32), dtype=np.uint8)
KEEP = rng.random((3, 40)) < 0.7
METRICS = {
    "nearest": lambda put: nearest(put(FIRST), put(SECOND), k=3),
    "nearest, images": lambda put: nearest(put(IMAGES), put(OTHERS), k=3),
    "MS-SSIM": lambda put: ms_ssim(put(IMAGES), put(OTHERS), data_range=255, scales=2),
    "dispersion": lambda put: dispersion(real=put(FIRST), synthetic=put(SECOND)),
    "support": lambda put: support(real=put(FIRST), synthetic=put(SECOND)),
    "inside": lambda put: inside(real=put(FIRST), synthetic=put(SECOND)),
    "Fréchet distance": lambda put: frechet_distance(real=put(FIRST), synthetic=put(SECOND)),
    "Fréchet distances": lambda put: frechet_of_subsets(
        real=put(FIRST), synthetic=put(SECOND), real_keep=KEEP, synthetic_keep=KEEP
    ),
    "kernel distance": lambda put: kernel_distance(real=put(FIRST), synthetic=put(SECOND)),
    "pairwise attack": lambda put: pairwise_attack(put(FIRST), put(SECOND)),
    "density attack": lambda put: density_attack(put(FIRST), put(SECOND), quantile=0.05),
    "copy test": lambda put: match(band_pass(put(IMAGES)), band_pass(put(OTHERS)), groups=np.arange(12) // 2),
}


def _numbers(found) -> list[np.ndarray]:
    """All numbers of a result: an array, a tensor, a number, or a tuple or object of these."""
    if dataclasses.is_dataclass(found):
        found = tuple(vars(found).values())
    if isinstance(found, tuple):
        return [numbers for part in found for numbers in _numbers(part)]
    return [np.asarray(found.cpu() if isinstance(found, torch.Tensor) else found, float)]


@pytest.mark.parametrize("name", METRICS)
def test_tensors_on_any_device_are_evaluated_as_arrays_are(name, device):
    expected, found = METRICS[name](np.asarray), METRICS[name](lambda values: torch.from_numpy(values).to(device))
    for one, other in zip(_numbers(expected), _numbers(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def test_rows_of_grey_and_radiomics_on_any_device(device):
    expected, found = (nearest(GreyRows(IMAGES, device=d), GreyRows(OTHERS, device=d), k=3) for d in (None, device))
    for one, other in zip(_numbers(expected), _numbers(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    expected, found = (radiomics(IMAGES, device=place) for place in ("cpu", device))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
