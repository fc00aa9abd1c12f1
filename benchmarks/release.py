"""A release of 10,000 images of 64 pixels as cohort file, PNG and DICOM, without its audit: time and memory.

    python benchmarks/release.py [--images 10000 --size 64]

The audit is refused, for it is given no real image to speak of, so that the draft is all else that `release` does.
Thresholds: 3 minutes, 2 GiB.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from lib.cohorts.cohort import Cohort
from lib.release.checksums import damages
from lib.release.release import NOT_AUDITED, release
from side_by_side import arguments, verdict

SECONDS, GIBIBYTES = 180, 2


def main():
    args = arguments(__doc__, images=10_000, size=64).parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (args.images, args.size, args.size), dtype=np.uint8)
    of = {"name": "noise", "label_names": ("a", "b")}
    made = Cohort(pixels, np.arange(args.images), np.arange(args.images) % 2, np.zeros(args.images), **of)
    cpu, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = release(
            Path(folder) / "noise", made, train=made[:2], heldout=None, draft=True, formats=("png", "dicom"), told=print
        )
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        assert done.answer == NOT_AUDITED
        assert done.folder is not None
        assert damages(done.folder) == []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{args.images:,} images: {wall:.0f} s, {cpu:.0f} CPU-s ", end="")
    print(f"(threshold {SECONDS} s): {verdict(wall <= SECONDS)}; ", end="")
    print(f"{peak:.2f} GiB (threshold {GIBIBYTES} GiB): {verdict(peak <= GIBIBYTES)}")


if __name__ == "__main__":
    main()
