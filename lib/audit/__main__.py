"""The command line `python -m lib.audit TRAIN HELDOUT SYNTHETIC`: are there copies of patients in synthetic images?"""

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.audit.assessment import THOROUGH, assess
from lib.audit.inputs import SIZES, describe_sets, open_sets
from lib.audit.page import quality_table, write_page
from lib.audit.verdict import ANSWERS
from lib.cohorts.io.resampling import FITS
from lib.core.revision import revision
from lib.core.seeding import numpy_generator

EXIT = dict(zip(ANSWERS, (4, 0, 3), strict=True))
_SHOWN = 20  # refused files that are named


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; exit code 0: no copies found, 3: cannot tell, 4: leak flagged, 1: refused, 2: usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        if options.dry_run:
            return _describe(options)
        return _audit(options, shlex.join(["python", "-m", "lib.audit", *given]))
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lib.audit",
        description="Are there copies of patients among synthetic images? Writes a page, a record (JSON) and all pairs "
        "(CSV). Exit code: 0 no copies found, 3 cannot tell, 4 leak flagged, 1 refused (one sentence says why).",
    )
    source = "a folder of DICOM, PNG, JPEG, TIFF, BMP, WEBP or NIfTI, or a Cohort file"
    parser.add_argument("train", metavar="TRAIN", help=f"the real images that were trained on: {source}")
    parser.add_argument(
        "heldout",
        metavar="HELDOUT",
        help="real images of other people of the same group, not trained on; the word none where there are none",
    )
    parser.add_argument("synthetic", metavar="SYNTHETIC", help="the images that are to be shared")
    parser.add_argument("--patients", metavar="TABLE.csv", help="whose the real images are: columns file and patient")
    parser.add_argument("--patient-from", metavar="HOW", help="or by table, folder, or name:REGEX")
    parser.add_argument("--strict", action="store_true", help="refuse what would be passed over")
    parser.add_argument("--fit", choices=FITS, default="pad", help="of images that are not square (default: pad)")
    parser.add_argument(
        "--out", default="audit/report.html", type=Path, metavar="report.html", help="default: %(default)s"
    )
    parser.add_argument("--no-images", action="store_true", help="a page without images and names of files")
    parser.add_argument("--dry-run", action="store_true", help="say what would be read and passed over, and stop")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--level", type=float, default=THOROUGH.level, help="false alarms of each test (default: 0.05)")
    parser.add_argument("--most", type=int, default=5000, help="images of each set; beyond it, drawn by patient")
    return parser


def _sources(options: argparse.Namespace) -> dict[str, Any]:
    names = ("train", "heldout", "synthetic", "patients", "patient_from")
    return {name: getattr(options, name) for name in names}


def _describe(options: argparse.Namespace) -> int:
    """Print what would be read; exit code 1 if something would be refused."""
    summary, files = describe_sets(**_sources(options))
    print(pd.DataFrame(summary).to_string(index=False))
    refused = [(name, of) for name, rows in files.items() for of in rows if of.outcome == "refused"]
    for name, of in refused[:_SHOWN]:
        print(f"refused: {name}, {of.name}: {of.why}", file=sys.stderr)
    return 1 if refused else 0


def _audit(options: argparse.Namespace, command: str) -> int:
    settings, out = THOROUGH._replace(level=options.level), options.out.expanduser()
    if not 0 < options.level < 1:
        raise ValueError(f"--level is {options.level}: give a share between 0 and 1")
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    say("reading the images")
    drawn = numpy_generator(options.seed, "open")
    read = {"strict": options.strict, "fit": options.fit, "most": options.most, "rng": drawn}
    sets = open_sets(**_sources(options), sizes=SIZES, audit_size=SIZES[0], **read)
    found = assess(sets, settings, seed=options.seed, told=say)
    say("fidelity and diversity")
    quality = quality_table(sets, seed=options.seed)
    facts = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "settings": ", ".join(f"{name} {value}" for name, value in settings._asdict().items())
        + f", seed {options.seed}",
        "revision of the code": revision(),
        "digest of the images": sets.digest,
    }
    facts |= {name: str(Path(getattr(options, name)).absolute()) for name in sets.parts}
    if options.no_images:
        facts = {name: value for name, value in facts.items() if name not in {"command", *sets.parts}}
    write_page(out, sets, found, quality, facts=facts, level=options.level, with_images=not options.no_images)
    say(f"{found.verdict.answer}: {out}")
    print("\n".join(found.verdict.because))
    return EXIT[found.verdict.answer]


if __name__ == "__main__":
    sys.exit(main())
