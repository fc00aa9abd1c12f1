"""The command line `python -m lib.release SYNTHETIC.h5 --train … --heldout … --out FOLDER`: images that are shared."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lib.audit.verdict import ANSWERS
from lib.cohorts.cohort import Cohort
from lib.release.data_card import FACTS, read_facts
from lib.release.release import FORMATS, release

_EXIT = dict(zip(ANSWERS, (4, 5, 3), strict=True))  # without copies it was not faithful


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; exit code 0: released, 3: cannot tell, 4: leak flagged, 5: not faithful, 1: refused."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    try:
        facts = read_facts(options.facts) if options.facts else {}
        made = release(
            options.out, Cohort.open(options.synthetic, closed_set=True), train=options.train, heldout=options.heldout,
            patients=options.patients, patient_from=options.patient_from, facts=facts, formats=options.formats,
            anyway=options.anyway, most=options.most, seed=options.seed, told=say,
        )  # fmt: skip
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was released", file=sys.stderr)
        return 130
    print(made.status)
    print(f"{'release' if made.folder else 'audit'}: {made.folder or made.report}")
    return 0 if made.folder else _EXIT[made.answer]


def _parser() -> argparse.ArgumentParser:
    keys = "; ".join(f"{key}: {what}" for key, what in FACTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m lib.release",
        description="Make a folder of synthetic images to be shared: images, labels, data card, audit, checksums. "
        "Exit code: 0 released, 3 not released, the audit cannot tell, 4 not released, leak flagged, 5 not released, "
        "not faithful, 1 refused (one sentence says why).",
        epilog=f"FACTS.yaml has texts that the card repeats. {keys}.",
    )
    parser.add_argument("synthetic", metavar="SYNTHETIC.h5", type=Path, help="the synthetic images, a cohort file")
    real = "a folder of DICOM, PNG, JPEG, TIFF, BMP, WEBP or NIfTI, or a Cohort file"
    parser.add_argument("--train", required=True, metavar="TRAIN", help=f"the real images that were trained on: {real}")
    parser.add_argument("--heldout", required=True, metavar="HELDOUT", help="real images of other people, likewise")
    parser.add_argument("--out", required=True, metavar="FOLDER", type=Path, help="the release, a new folder")
    parser.add_argument("--patients", metavar="TABLE.csv", help="whose the real images are: columns file and patient")
    parser.add_argument("--patient-from", metavar="HOW", help="or by table, folder, or name:REGEX")
    parser.add_argument("--facts", metavar="FACTS.yaml", type=Path, help="what only you know of them (see below)")
    parser.add_argument("--formats", nargs="+", default=(), choices=FORMATS, help="written beside images.h5")
    parser.add_argument("--anyway", action="store_true", help="release it whatever the checks say; the card says so")
    most = "real images of either set that are looked at, all unless given; with fewer nothing is releasable"
    parser.add_argument("--most", type=int, help=most)
    parser.add_argument("--seed", type=int, default=0, help="of all draws (0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
