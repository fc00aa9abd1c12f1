"""A finished training of an anonymiser of phantoms is put into weights/; `python -m lib.generators list` lists it.

python -m lib.anonymise store FOLDER NAME --about "…" [--gate MEASURE VALUE]…
"""

import argparse
import sys

from lib.anonymise.vaegan.stored import keep


def main(argv: list[str]) -> int:
    """Exit code 0 done, 1 where what is asked for cannot be, in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m lib.anonymise", description="The trained anonymisers in weights/.")
    commands = parser.add_subparsers(dest="command", required=True)
    store = commands.add_parser("store", help="put a finished training of phantoms there")
    store.add_argument("folder", help="of the finished training")
    store.add_argument("name", help="a new one, of letters, digits and hyphens")
    store.add_argument("--about", required=True, help="of which phantoms, and how these are drawn again")
    store.add_argument("--gate", nargs=2, action="append", default=[], metavar=("MEASURE", "VALUE"))
    asked = parser.parse_args(argv)
    try:
        gate = {measure: float(value) for measure, value in asked.gate}
        print(keep(asked.folder, asked.name, about=asked.about, gate=gate))
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
