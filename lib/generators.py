"""Every generator: `train` it by name, `load` it from a folder or the store, and `sample` from what they return.

    images, labels = draw("mcgan-phantom", 100, label="malignant")    # uint8 (100, s, s), and their labels
    generator = train("dcgan", images, labels, path="data/runs/gan", seed=0, steps=1000)
    generator = load("data/runs/gan")
    made = generator.sample(100, labels=wanted, seed=1)    # uint8 (100, s, s)

`names()` are those that lib.training.gan.registry knows; what each is trained by, its module there says.
`published_mcgan`, "mcgan-published" on the command line, is one that others trained: its weights are downloaded by hand
(data/README.md). What is stored in weights/, with its card, and what was trained in this checkout; images of one as a
folder of PNG files with labels.csv, or as a cohort file; and a finished training of phantoms put into the store:

    python -m lib.generators list
    python -m lib.generators sample NAME|FOLDER --n 1000 [--label NAME] --out FOLDER|FILE.h5 [--seed N]
        [--layout pgan_release]
    python -m lib.generators sample NAME|FOLDER --labels-of COHORT.h5 --out FOLDER|FILE.h5 [--seed N]
    python -m lib.generators store FOLDER NAME --about "…" [--labels NAME…] [--gate MEASURE VALUE]…
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from lib.cohorts.cohort import Cohort
from lib.cohorts.io.picture_folder import assert_new, write_pictures
from lib.cohorts.public import pgan_release
from lib.core.json_objects import read_object
from lib.core.paths import root
from lib.core.revision import revision
from lib.training.gan.named_labels import label_columns, label_names, labels_of_training, labels_to_draw
from lib.training.gan.published import PUBLISHED, published_mcgan
from lib.training.gan.registry import keep, load, names, register, train
from lib.training.gan.sampling import TrainedGenerator
from lib.training.loop.store import read_card, stored_names

__all__ = ["TrainedGenerator", "draw", "load", "names", "published_mcgan", "register", "train"]

LAYOUTS = ("cohort", *pgan_release.COHORTS)  # of a file of images that are drawn


def draw(
    name_or_folder: str | Path, n: int, *, label: str | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """`n` images of a stored, published or trained generator, and their labels.

    label: the name of one, as the card in weights/ has it, or its number where there is no card; None has all labels
    take turns. Returns uint8 (n, s, s), or (n, c, s, s) with c > 1 channels, and (n,) classes, (n, k) findings, or None
    where the generator knows no labels. FileNotFoundError and ValueError as `load`, ValueError for an unknown label.
    """
    generator, names = _opened(name_or_folder)
    labels = labels_to_draw(generator, n, label=label, names=names)
    return generator.sample(n, labels=labels, seed=seed), labels


def _opened(name_or_folder: str | Path) -> tuple[TrainedGenerator, list[str]]:
    """A stored, published or trained generator, and the names of its labels."""
    name, labelled = str(name_or_folder), list[str]()
    if name in PUBLISHED and not Path(name).exists():
        generator: TrainedGenerator = PUBLISHED[name][0]()
        labelled = [*PUBLISHED[name][1]]
    else:
        generator = load(name_or_folder)
        if name in stored_names() and not Path(name).exists():
            labelled = read_card(name).get("labels", [])
    return generator, label_names(generator, labelled)


def trained_here() -> list[Path]:
    """The folders in data/runs/ that hold a finished training of a generator, sorted."""
    records = sorted((root() / "data" / "runs").glob("**/checkpoint.json"))
    found = ((file.parent, read_object(file)) for file in records)
    return [path for path, of in found if of.get("finished") and of.get("settings", {}).get("model") in names()]


def main(argv: list[str]) -> int:
    """Exit code 0 done, 1 where what is asked for cannot be, in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m lib.generators", description="The trained generators in weights/.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="each with its card")
    drawn = commands.add_parser("sample", help="draw images into a folder of PNG files, with labels.csv")
    drawn.add_argument("name", metavar="NAME|FOLDER", help="as listed, or the folder of a finished training")
    many = drawn.add_mutually_exclusive_group(required=True)
    many.add_argument("--n", type=int, help="how many images")
    like = "one image for each training image of a cohort, with its labels, which are then those of patients"
    many.add_argument("--labels-of", metavar="COHORT.h5", type=Path, help=like)
    drawn.add_argument("--label", help="of all of them, by its name in the card (without it labels take turns)")
    drawn.add_argument("--out", required=True, metavar="FOLDER|FILE.h5", help="a new one: pictures, or a cohort file")
    drawn.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    layout = f"of FILE.h5: a cohort, or images from -1 to 1 and regions as in doi {pgan_release.DOI}"
    drawn.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0], help=layout)
    store = commands.add_parser("store", help="put a finished training of phantoms there")
    store.add_argument("folder", help="of the finished training")
    store.add_argument("name", help="a new one, of letters, digits and hyphens")
    store.add_argument("--about", required=True, help="of which phantoms, and how these are drawn again")
    store.add_argument("--labels", nargs="+", default=[], metavar="NAME", help="of its labels, in their order")
    store.add_argument("--gate", nargs=2, action="append", default=[], metavar=("MEASURE", "VALUE"))
    asked = parser.parse_args(argv)
    try:
        if asked.command == "sample":
            _sample(asked)
        elif asked.command == "store":
            gate = {measure: float(value) for measure, value in asked.gate}
            labels = label_names(load(asked.folder), asked.labels) if asked.labels else []
            print(keep(asked.folder, asked.name, about=asked.about, labels=labels, gate=gate))
        else:
            _list()
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _sample(asked: argparse.Namespace) -> None:
    out = assert_new(asked.out)
    generator, names = _opened(asked.name)
    if asked.labels_of and asked.label:
        raise ValueError("--labels-of gives every image its labels: leave --label out")
    labels: np.ndarray | None
    if asked.labels_of:
        labels, names = labels_of_training(generator, Cohort.open(asked.labels_of, closed_set=True), names=names)
    else:
        labels = labels_to_draw(generator, asked.n, label=asked.label, names=names)
    is_cohort = asked.layout == LAYOUTS[0]
    if not is_cohort and out.suffix != ".h5":
        raise ValueError(f"{out}: {asked.layout} is the layout of a file; give one that ends in .h5")
    if not is_cohort:
        pgan_release.assert_units(generator.sample(1, labels=None if labels is None else labels[:1], seed=0), labels)
    images = generator.sample(asked.n if labels is None else len(labels), labels=labels, seed=asked.seed)
    if not is_cohort:
        print(pgan_release.write(out, images, np.asarray(labels)))
        return
    if out.suffix != ".h5":
        print(write_pictures(out, images, label_columns(labels, names)))
        return
    each = np.arange(len(images))  # images of no patient: none is another's
    codes, known = (labels, names) if labels is not None else (np.zeros(len(images), np.int64), ["image"])
    made_by = f"python -m lib.generators sample {asked.name}, seed {asked.seed}, revision {revision()}"
    split = np.zeros(len(images))
    made = Cohort(images, each, codes, split, name=out.stem, label_names=known, source="synthetic", made_by=made_by)
    print(made.save(out))


def _list() -> None:
    for name in stored_names():
        card = read_card(name)
        print(f"{name}: {card['about']}")
        if labels := card.get("labels"):
            print(f"    labels {', '.join(labels)}")
        print(f"    {card['hours']:.1f} hours on {card['machine']}, {card['arithmetic']}")
        print(f"    revision {card['revision']}, {card['date']}")
        print(*(f"    {measure} {value:g}\n" for measure, value in card["gate"].items()), sep="", end="")
    for name, (_, labels) in PUBLISHED.items():
        print(f"{name}: weights that others published (data/README.md)\n    labels {', '.join(labels)}")
    for folder in trained_here():
        print(f"{folder.relative_to(root())}: trained here")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
