"""Sets whose leak is known: injected copies, a memorising generator, and disjoint patients as negative control."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class InjectedCopies:
    """A synthetic set with known copies."""

    synthetic: np.ndarray = field(repr=False)  # the set given
    source: np.ndarray = field(repr=False)
    at: np.ndarray  # (m,) rows that are copies, ascending
    copied: np.ndarray  # (m,) rows of the source that stand there

    @property
    def images(self) -> np.ndarray:
        """As the synthetic set given; made anew each time, so that several sets of copies need the memory of one."""
        images = self.synthetic.copy()
        images[self.at] = self.source[self.copied]
        return images


def inject_copies(synthetic: ArrayLike, *, source: ArrayLike, share: float, rng: np.random.Generator) -> InjectedCopies:
    """`synthetic` (s, ...) with the share `share` of its rows replaced by copies of rows of `source`, at random.

    No row of the source is copied twice before every row is copied once. share=1 with training images as the
    source is a memorising generator; a share below is a partial leak; share=1 with real images of further patients is a
    perfect generator that copies nobody. Raises ValueError if shapes or dtypes differ, or if nothing is injected.
    """
    synthetic, source = np.asarray(synthetic), np.asarray(source)
    if synthetic.shape[1:] != source.shape[1:] or synthetic.dtype != source.dtype:
        raise ValueError(
            f"synthetic is {synthetic.dtype} {synthetic.shape[1:]} and source {source.dtype} {source.shape[1:]} "
            "an image: bring both to one size, dtype and value range"
        )
    count = round(share * len(synthetic))
    if not 0 <= share <= 1 or count == 0 or len(source) == 0:
        raise ValueError(
            f"a share of {share} of {len(synthetic)} images, from a source of {len(source)}, injects nothing: "
            "give a share in (0, 1] that makes at least one copy"
        )
    at = np.sort(rng.permutation(len(synthetic))[:count])
    rounds = -(-count // len(source))
    copied = np.concatenate([rng.permutation(len(source)) for _ in range(rounds)])[:count]
    return InjectedCopies(synthetic, source, at, copied)


def controls(
    synthetic: ArrayLike,
    *,
    train: ArrayLike,
    disjoint: ArrayLike,
    rng: np.random.Generator,
    leaks: Sequence[float] = (0.05, 0.1, 0.3),
) -> dict[str, InjectedCopies]:
    """Control sets for an attack, each as large as `synthetic` (s, ...), from no copies to nothing but copies.

    "negative control": `disjoint`, real images of patients who are neither in `train` nor in the attack's held-out set,
    offered as synthetic; an attack must stay at chance. "leak_5", "leak_10", …: `synthetic` with that percentage of
    copies of `train`. "memorising generator": copies of `train` only; if s is at least the size of `train`, an attack
    must detect every member. Each is returned as by `inject_copies`, which says what was copied.
    """
    sets = {"negative control": inject_copies(synthetic, source=disjoint, share=1, rng=rng)}
    for share in leaks:
        sets[f"leak_{100 * share:g}"] = inject_copies(synthetic, source=train, share=share, rng=rng)
    sets["memorising generator"] = inject_copies(synthetic, source=train, share=1, rng=rng)
    return sets
