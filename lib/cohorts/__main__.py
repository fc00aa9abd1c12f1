"""The command line: public sets are prepared, images of one's own are converted, and a cohort file is described.

python -m lib.cohorts prepare NAME [--from DIR]
python -m lib.cohorts list
python -m lib.cohorts convert FOLDER --table TABLE.csv --size 128 -o cohort.h5
python -m lib.cohorts convert CASES.h5 [--masks MASKS.h5] --test 2 -o cohort.h5
python -m lib.cohorts describe cohort.h5
"""

import argparse
import sys
from pathlib import Path

from lib.cohorts.io import fetch
from lib.cohorts.io.resampling import FITS
from lib.cohorts.public import SET_OF, cohorts_folder, prepared, raw_folder, set_of
from lib.cohorts.public.sets import module_of, open_prepared


def prepare(name: str, download: Path | None) -> None:
    """Prepare the cohorts of the set of `name` from the folder `download`, or fetch them; print what was written."""
    module = module_of(name)
    if download is None:
        download = raw_folder(name)
        for source in module.sources():
            fetch.fetch(source, download, progress=lambda line: print(line, file=sys.stderr))
    for path in module.prepare(download, cohorts_folder()):
        cohort = open_prepared(path.name.split(".")[0])
        digest, published = cohort.digest, module.DIGESTS.get(cohort.name)
        verdict = "as published" if digest == published else "differs from the published"
        if published is None:
            verdict = "none is published"
        print(f"{path}\n  {cohort}\n  digest {digest} ({verdict})")
        if published and digest != published:
            print(f"warning: {path} differs from what was published; fetch it again", file=sys.stderr)


def show() -> None:
    """Print every cohort and table, its set, and whether it is prepared."""
    for name in SET_OF:
        try:
            prepared(name)
        except FileNotFoundError:
            print(f"{name}: not prepared (set {set_of(name)})")
        else:
            print(open_prepared(name))


def describe(path: Path, masks: str = "") -> None:
    """Print what is in the cohort file `path`, and which papers it can serve, with `masks` of another file."""
    from lib.cohorts.description import describe
    from lib.cohorts.own import as_given
    from lib.cohorts.serving import table_of_papers

    for rows in (describe(as_given(path, masks)), table_of_papers(path, masks)):
        width = max((len(what) for what, _ in rows), default=0)
        print(*(f"{what:{width}}  {how}" for what, how in rows), sep="\n", end="\n\n" if rows else "")


def convert(options: argparse.Namespace) -> None:
    """Make the cohort file `options.out` of a folder and a table, or of a plain file, and print what is in it."""
    path = options.out
    if path.suffix != ".h5":
        raise ValueError(f"{path}: a cohort file ends in .h5; name it so")
    if path.exists():
        raise ValueError(f"{path} is there already; give another name, or delete it")

    (_of_file if options.folder.is_file() else _of_folder)(options).save(path)
    print(path)
    describe(path)


def _of_file(options: argparse.Namespace):
    from lib.cohorts.own import as_given

    if options.table or options.size:
        raise ValueError(f"{options.folder}: a file has its labels and its size; leave --table and --size out")
    cohort = as_given(options.folder, options.masks, with_masks=True, test=options.test or 1)
    return cohort.replaced(name=options.name or options.out.stem)


def _of_folder(options: argparse.Namespace):
    from lib.cohorts.io.conversion import convert

    if not (options.table and options.size):
        raise ValueError(f"{options.folder}: a folder needs --table and --size")
    if options.test:
        raise ValueError("--test is the code of test images in a file; a table has a column split")

    def progress(done: int, of: int) -> None:
        print(f"\r{done:,} of {of:,} images", end="" if done < of else "\n", file=sys.stderr, flush=True)

    names = ("size", "labels", "classes", "masks", "fit", "slices", "strict", "modality", "licence")
    given = {name: getattr(options, name) for name in names}
    return convert(options.folder, options.table, name=options.name or options.out.stem, progress=progress, **given)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed (one sentence on stderr), 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.cohorts", description="Public image sets, and your own images, as cohort files."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="fetch a set, or read your own download, and write its cohorts")
    command.add_argument("name", metavar="NAME", choices=SET_OF, help=f"one of {', '.join(SET_OF)}")
    own = "your own download; without it the files are fetched (of nih_cxr14 the 1,000-radiograph subset)"
    command.add_argument("--from", dest="download", type=Path, metavar="DIR", help=own)
    commands.add_parser("list", help="list the cohorts, and which are prepared")
    command = commands.add_parser("describe", help="what is in a cohort file, and which papers it can serve")
    command.add_argument("file", type=Path, metavar="FILE", help="in this suite's layout or Montenegro's")
    command.add_argument("--masks", default="", metavar="FILE", help="its masks, if another file has them")
    command = commands.add_parser("convert", help="make a cohort file of images and a table, or of a plain file")
    of = "a folder of DICOM, PNG, JPEG, TIFF, BMP, WEBP or NIfTI, or a file of images, id, dis and set"
    command.add_argument("folder", type=Path, metavar="FOLDER|CASES.h5", help=of)
    columns = (
        "of a folder: CSV with the columns file and patient, one or more of labels, and, where you have them, split"
    )
    command.add_argument("--table", type=Path, metavar="TABLE", help=columns)
    command.add_argument("--size", type=int, help="of a folder: pixels a side, to which all are averaged")
    coded = "of CASES.h5: the code of its test images, 1 as in the released scripts, or 2 (1)"
    command.add_argument("--test", type=int, choices=(1, 2), help=coded)
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the cohort file, a new one")
    command.add_argument("--labels", nargs="+", default=(), metavar="COLUMN", help="those alone of the table")
    command.add_argument(
        "--classes", nargs="+", default=(), metavar="NAME", help="of one column, in this order (sorted)"
    )
    command.add_argument("--masks", default="", metavar="FOLDER|MASKS.h5", help="of each image, by its name; or a file")
    command.add_argument("--fit", choices=FITS, default="pad", help="what is done to an image that is not square (pad)")
    command.add_argument("--slices", type=int, default=0, metavar="N", help="each file is a volume of so many slices")
    command.add_argument("--strict", action="store_true", help="refuse a folder with files that are no images")
    command.add_argument("--name", help="of the cohort (that of its file)")
    command.add_argument("--modality", default="unknown", help="DICOM's code, such as CR, MG or MR")
    command.add_argument("--licence", default="unknown", help="under which the images are used")
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            show()
        elif options.command == "describe":
            describe(options.file, options.masks)
        elif options.command == "convert":
            convert(options)
        else:
            prepare(options.name, options.download)
    except (OSError, ValueError, ImportError, fetch.FetchError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: give the same command again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
