"""Toy cohorts in which an attack must succeed: the simulated "threats" of Sun et al. 2021, and a repaired one.

No image is behind them. The pairwise toy draws the attack's scores, distances to the nearest synthetic image in
units of the median, from mixtures of Beta distributions. The density toy draws points and lets the attack work.
"""

from collections.abc import Mapping

import numpy as np

WIDTH = 64  # values of a point of the density toy


def pairwise_toy(rng: np.random.Generator, *, size: int = 500) -> dict[str, np.ndarray]:
    """Ratios (size,) float64 of "train", "validation" and "test", small meaning highly ranked.

    Nine tenths of the training candidates were memorised, 0.4 Beta(9, 4) + .25; the others look like held-out ones,
    0.5 Beta(12, 7) + .4. Validation: 0.5 Beta(12, 7) + .47; test: 0.52 Beta(9, 3) + .4.
    """
    memorised = round(0.9 * size)
    train = [0.4 * rng.beta(9, 4, memorised) + 0.25, 0.5 * rng.beta(12, 7, size - memorised) + 0.4]
    return {
        "train": np.concatenate(train),
        "validation": 0.5 * rng.beta(12, 7, size) + 0.47,
        "test": 0.52 * rng.beta(9, 3, size) + 0.4,
    }


def density_toy(
    rng: np.random.Generator, *, size: int = 2000, candidates: int = 1000, as_published: bool = False
) -> dict[str, np.ndarray]:
    """Points (n, 64) float64: "synthetic", and the candidates "train", "validation" and "test".

    Synthetic are `size` normal points, three jittered copies of each and as many fresh ones: 5·size in all. A
    candidate is a synthetic point, picked at random, that was altered: in training by a factor of .975 to 1.025
    and a shift of |N(0, .15²)| in every value, in validation and test by a shift of N(t, t²)², t = .45 and .5.

    `as_published` permutes the values of the points, all in one way, where the points were meant: the candidates
    then are the first synthetic points with their values exchanged, altered, and none resembles any synthetic point.
    Raises ValueError for more candidates than synthetic points.
    """
    if not 1 <= candidates <= 5 * size:
        raise ValueError(f"candidates is {candidates}, but there are {5 * size} synthetic points to pick from")
    base = rng.standard_normal((size, WIDTH))
    synthetic = np.concatenate(
        [
            base,
            base + 0.1 * rng.standard_normal(base.shape),
            base * rng.uniform(0.975, 1.025, base.shape) + 0.15 * rng.standard_normal(base.shape),
            rng.standard_normal(base.shape),
            base * rng.uniform(0.95, 1.05, base.shape) + 0.2 * rng.standard_normal(base.shape),
        ]
    )

    def picked():
        if as_published:
            return synthetic[:candidates, rng.permutation(WIDTH)]
        return synthetic[rng.permutation(len(synthetic))[:candidates]]

    shape = (candidates, WIDTH)
    drawn = {
        "synthetic": synthetic,
        "train": picked() * rng.uniform(0.975, 1.025, shape) + abs(0.15 * rng.standard_normal(shape)),
    }
    for name, t in (("validation", 0.45), ("test", 0.5)):
        drawn[name] = picked() + (t + t * rng.standard_normal(shape)) ** 2
    return drawn


def largest_third(scores: Mapping[str, np.ndarray], *, member: str = "train") -> dict[str, np.ndarray]:
    """The selection behind the published density toy: of every origin only the largest third of its scores (n,).

    Of 1,000 scores, 334 of `member` and 333 of any other, falling. What is dropped would have blurred the picture:
    an AUROC of the kept scores is too large, and no attacker could select so without knowing the origin.
    """
    falling = {name: np.sort(values)[::-1] for name, values in scores.items()}
    return {
        name: values[: -(-len(values) // 3) if name == member else len(values) // 3] for name, values in falling.items()
    }
