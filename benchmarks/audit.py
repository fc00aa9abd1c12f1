"""A whole audit: time on the wall and memory, beside what is written instead of it.

    python benchmarks/audit.py [--train 1000 --heldout 500 --synthetic 1000 --size 128 --threads 2]
    python benchmarks/audit.py --train 10000 --heldout 5000 --synthetic 10000 --size 64

The images are drawn masses, two a patient. Everything is done that `python -m lib.audit` does between reading the
images and the page. Beside it stand, where they are installed (pip install --no-deps scikit-image lazy-loader
faiss-cpu): the loop of SSIM over every pair of a synthetic and a real image, timed on a few pairs and multiplied; and
faiss, which searches the nearest real image of each synthetic one by the embedding of the audit. Both only rank pairs:
neither says how near is too near. Thresholds: 6 minutes for the first line, 15 minutes and 4 GiB for the second.
"""

import importlib.util
import resource
import time

import numpy as np
import torch

from lib.audit.assessment import THOROUGH, assess
from lib.audit.inputs import SIZES, open_sets
from lib.audit.normalisation import normalised
from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import mass
from lib.core.seeding import numpy_generator
from side_by_side import arguments, verdict

FEW, MANY = 2500, 25_000  # images in all, that the thresholds are stated for
MINUTES, GIBIBYTES = {FEW: 6, MANY: 15}, 4
_PAIRS = 200  # that SSIM is timed on


def main():
    args = arguments(__doc__, train=1000, heldout=500, synthetic=1000, size=128, threads=2).parse_args()
    torch.set_num_threads(args.threads)
    counts = {"train": args.train, "heldout": args.heldout, "synthetic": args.synthetic}
    given = {name: drawn(name, count, args.size) for name, count in counts.items()}
    began = time.perf_counter()
    sets = open_sets(
        **given, sizes=SIZES, audit_size=SIZES[0], most=max(counts.values()), rng=numpy_generator(0, "open")
    )

    def say(line: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s  {line}", flush=True)

    found = assess(sets, THOROUGH, seed=0, told=say)
    minutes = (time.perf_counter() - began) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"the audit: {minutes:.1f} minutes, {peak:.2f} GiB, {found.verdict.answer}")
    total = sum(counts.values())
    if total in MINUTES:
        met = minutes <= MINUTES[total] and (total < MANY or peak <= GIBIBYTES)
        print(f"thresholds of {total:,} images ({MINUTES[total]} minutes; {GIBIBYTES} GiB of {MANY:,}): {verdict(met)}")
    real = np.concatenate([sets.small["train"], sets.small["heldout"]])
    if importlib.util.find_spec("skimage"):
        by_ssim(real, sets.small["synthetic"])
    if importlib.util.find_spec("faiss"):
        by_faiss(found.found.gallery, sets.small["synthetic"], args.threads)


def drawn(name: str, count: int, size: int) -> Cohort:
    """`count` masses, two a patient, of patients of this set alone."""
    masses = mass.draw(patients=count, image_size=size, rng=numpy_generator(0, name))
    rows = np.concatenate([np.flatnonzero(masses.patient == who)[:2] for who in np.unique(masses.patient)])[:count]
    few = masses[np.sort(rows)]
    few.patient = np.char.add(f"{name} ", few.patient.astype(str))
    few.source_name = np.char.add(f"{name} ", np.asarray(few.source_name, str))
    return few


def by_ssim(real: np.ndarray, synthetic: np.ndarray) -> None:
    """Print what SSIM of every pair would take."""
    from skimage.metrics import structural_similarity

    began = time.perf_counter()
    for number in range(_PAIRS):
        structural_similarity(real[number % len(real)], synthetic[number % len(synthetic)])
    hours = (time.perf_counter() - began) / _PAIRS * len(real) * len(synthetic) / 3600
    print(f"SSIM of every pair by scikit-image, at {real.shape[1]} pixels: {hours:.1f} hours, by {_PAIRS} pairs")


def by_faiss(gallery, synthetic: np.ndarray, threads: int) -> None:
    """Print what the nearest real image of each synthetic one, by the embedding, takes."""
    import faiss

    faiss.omp_set_num_threads(threads)
    began = time.perf_counter()
    index = faiss.IndexFlatIP(gallery.vectors.shape[1])
    index.add(gallery.vectors.numpy())
    queries = gallery.embedding.of(normalised(synthetic).ranks).numpy()
    embedded = time.perf_counter() - began
    index.search(queries, 20)
    print(f"faiss: {time.perf_counter() - began - embedded:.2f} s, and {embedded:.0f} s to embed, in one symmetry of 8")


if __name__ == "__main__":
    main()
