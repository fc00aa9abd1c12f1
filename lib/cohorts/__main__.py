"""The command line `python -m lib.cohorts prepare NAME [--from DIR]` and `python -m lib.cohorts list`."""

import argparse
import sys
from pathlib import Path

from lib.cohorts.io import fetch
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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed (one sentence on stderr), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m lib.cohorts", description="Prepare public image sets.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="fetch a set, or read your own download, and write its cohorts")
    command.add_argument("name", metavar="NAME", choices=SET_OF, help=f"one of {', '.join(SET_OF)}")
    own = "your own download; without it the files are fetched (of nih_cxr14 the 1,000-radiograph subset)"
    command.add_argument("--from", dest="download", type=Path, metavar="DIR", help=own)
    commands.add_parser("list", help="list the cohorts, and which are prepared")
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            show()
        else:
            prepare(options.name, options.download)
    except (OSError, ValueError, ImportError, fetch.FetchError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
