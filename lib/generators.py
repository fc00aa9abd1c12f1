"""Every generator: `train` it by name, `load` it from a folder or the store, and `sample` from what they return.

    generator = train("dcgan", images, labels, path="data/runs/gan", seed=0, steps=1000)
    generator = load("data/runs/gan")
    made = generator.sample(100, labels=wanted, seed=1)    # uint8 (100, s, s)

`names()` are those that lib.training.gan.registry knows; what each is trained by, its module there says. What is stored
in weights/, with what each card says; and a finished training of phantoms put there:

    python -m lib.generators list
    python -m lib.generators store FOLDER NAME --about "…" [--gate MEASURE VALUE]…
"""

import argparse
import sys

from lib.training.gan.registry import keep, load, names, register, train
from lib.training.gan.sampling import TrainedGenerator
from lib.training.loop.store import read_card, stored_names

__all__ = ["TrainedGenerator", "load", "names", "register", "train"]


def main(argv: list[str]) -> int:
    """Exit code 0 done, 1 where what is asked for cannot be, in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m lib.generators", description="The trained generators in weights/.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="each with its card")
    store = commands.add_parser("store", help="put a finished training of phantoms there")
    store.add_argument("folder", help="of the finished training")
    store.add_argument("name", help="a new one, of letters, digits and hyphens")
    store.add_argument("--about", required=True, help="of which phantoms, and how these are drawn again")
    store.add_argument("--gate", nargs=2, action="append", default=[], metavar=("MEASURE", "VALUE"))
    asked = parser.parse_args(argv)
    try:
        if asked.command == "store":
            gate = {measure: float(value) for measure, value in asked.gate}
            print(keep(asked.folder, asked.name, about=asked.about, gate=gate))
        for name in stored_names() if asked.command == "list" else ():
            card = read_card(name)
            print(f"{name}: {card['about']}\n    {card['hours']:.1f} hours on {card['machine']}, {card['arithmetic']}")
            print(f"    revision {card['revision']}, {card['date']}")
            print(*(f"    {measure} {value:g}\n" for measure, value in card["gate"].items()), sep="", end="")
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
