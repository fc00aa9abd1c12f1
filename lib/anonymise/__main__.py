"""Cases of a file are anonymised; the networks that this takes are trained; one of phantoms is put into weights/.

    python -m lib.anonymise known CASES.h5 --task identity|finding --out FOLDER
    python -m lib.anonymise embedding CASES.h5 --out FOLDER
    python -m lib.anonymise train CASES.h5 --masks MASKS.h5 --method pp-mir|pp-sir|none --finding FOLDER
        [--identity FOLDER] --out FOLDER
    python -m lib.anonymise counterfactual CASES.h5 --masks MASKS.h5 --weights W --finding FOLDER --out FOLDER
    python -m lib.anonymise apply CASES.h5 --masks MASKS.h5 --weights W [--counterfactual FOLDER] --out OUT.h5
    python -m lib.anonymise ksame CASES.h5 --k 5 --out OUT.h5
    python -m lib.anonymise walk CASES.h5 --generator G --identity FOLDER --finding FOLDER --pairs 8 --out OUT.h5
    python -m lib.anonymise store FOLDER NAME --about "…" [--gate MEASURE VALUE]…

CASES.h5: a cohort file, or one with images, id, dis and set. W, G: the folder of a training, or a name in weights/.
"""

import argparse
import sys
from pathlib import Path

from lib.anonymise import case_files as files
from lib.anonymise.latent_walk.walked_cases import ENDS, walked_cases
from lib.anonymise.vaegan.stored import keep
from lib.cohorts.cohort import Cohort
from lib.cohorts.io.case_hdf5 import open_cases
from lib.training.gan import registry


def main(argv: list[str]) -> int:
    """Exit code 0 done, 1 where what is asked for cannot be, in one sentence, 130 interrupted."""
    asked = _parser().parse_args(argv)
    try:
        print(_done(asked))
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on with a training, and makes a file anew", file=sys.stderr)
        return 130
    return 0


def _done(asked: argparse.Namespace) -> Path:
    """Do as asked; where the result lies."""
    if asked.command == "store":
        gate = {measure: float(value) for measure, value in asked.gate}
        return keep(asked.folder, asked.name, about=asked.about, gate=gate)
    out = Path(asked.out)
    if asked.command in ("apply", "ksame", "walk"):
        if out.suffix != ".h5" or out.exists():
            raise ValueError(f"{out}: give a new file that ends in .h5")
        return _made(asked).save(out)
    cases, options = _cases(asked), {"path": out, "seed": asked.seed, "batch": asked.batch}
    options |= {name: value for name in ("epochs", "width", "learning_rate") if (value := getattr(asked, name, None))}
    if asked.command == "known":
        files.train_known(cases, task=asked.task, **options)
    elif asked.command == "embedding":
        files.train_embedding(cases, **options)
    elif asked.command == "train":
        files.train_anonymiser(cases, method=asked.method, finding=asked.finding, identity=asked.identity, **options)
    else:
        files.train_opposite(cases, anonymiser=asked.weights, finding=asked.finding, **options)
    return out


def _cases(asked: argparse.Namespace) -> Cohort:
    return open_cases(Path(asked.cases), getattr(asked, "masks", None), test=asked.test)


def _made(asked: argparse.Namespace) -> Cohort:
    if asked.command == "ksame":
        return files.averaged(_cases(asked), k=asked.k, within_class=not asked.across)
    if asked.command == "walk":
        networks = {name: files.load_known(getattr(asked, name)) for name in ("identity", "finding")}
        return walked_cases(
            _cases(asked), generator=registry.load(asked.generator), **networks, pairs=asked.pairs, ends=asked.ends,
            seed=asked.seed, points=asked.points, steps=asked.steps, learning_rate=asked.learning_rate,
        )  # fmt: skip
    return files.anonymised(
        _cases(asked), anonymiser=asked.weights, counterfactual=asked.counterfactual, seed=asked.seed
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib.anonymise", description="Anonymised cases from files.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, help: str, *, out: str, trains: bool = False, masks: bool = False):
        made = commands.add_parser(name, help=help)
        made.add_argument("cases", metavar="CASES.h5", help="images, id, dis and set, or a cohort file")
        coded = "code of the test images in a plain file: 1, as for --data and in the released scripts, or 2 (1)"
        made.add_argument("--test", type=int, choices=(1, 2), default=1, help=coded)
        made.add_argument("--out", required=True, metavar=out)
        made.add_argument("--seed", type=int, default=0, help="of all draws (0)")
        if masks:
            made.add_argument("--masks", type=Path, metavar="MASKS.h5", help="unless the cases hold their own")
        if trains:
            made.add_argument("--epochs", type=int, help="the published ones unless given")
            made.add_argument("--batch", type=int, default=64, help="of a step (64)")
        return made

    known = command("known", "train a classifier of patients or findings", out="FOLDER", trains=True)
    known.add_argument("--task", required=True, choices=files.TASKS)
    known.add_argument("--width", type=int, help="of its layers (32)")
    siamese = command("embedding", "train the embedding of patients that guides pp-sir", out="FOLDER", trains=True)
    siamese.add_argument("--width", type=int, help="of its first layer (32)")
    train = command("train", "train an anonymiser", out="FOLDER", trains=True, masks=True)
    train.add_argument("--method", required=True, choices=files.METHODS)
    train.add_argument("--finding", required=True, metavar="FOLDER", help="of the classifier of findings")
    train.add_argument(
        "--identity", metavar="FOLDER", help="of the classifier of patients; of the embedding for pp-sir"
    )
    train.add_argument("--width", type=int, help="of its widest layers (256)")
    train.add_argument("--learning-rate", type=float, help="2e-5, as published, unless given")
    opposite = command(
        "counterfactual", "train a decoder of counterfactual cases", out="FOLDER", trains=True, masks=True
    )  # fmt: skip
    opposite.add_argument("--weights", required=True, metavar="W", help="of the anonymiser")
    opposite.add_argument("--finding", required=True, metavar="FOLDER", help="of the classifier of findings")
    opposite.add_argument("--learning-rate", type=float, help="2e-5, as published, unless given")
    apply = command("apply", "anonymise all cases", out="OUT.h5", masks=True)
    apply.add_argument("--weights", required=True, metavar="W", help="of the anonymiser")
    apply.add_argument("--counterfactual", metavar="FOLDER", help="of a decoder: the cases with the opposite finding")
    same = command("ksame", "average each case with those of other people", out="OUT.h5")
    same.add_argument("--k", type=int, required=True, help="people in an average")
    same.add_argument("--across", action="store_true", help="whatever their finding (k-Same, not k-Same-Select)")
    walk = command("walk", "draw images of private walks between points of one class (PLAN)", out="OUT.h5")
    walk.add_argument("--generator", required=True, metavar="G", help="a stylegan2, trained on such cases")
    walk.add_argument("--identity", required=True, metavar="FOLDER", help="of the classifier of patients")
    walk.add_argument("--finding", required=True, metavar="FOLDER", help="of the classifier of findings")
    walk.add_argument("--pairs", required=True, type=int, help="walks of each finding")
    between = "what a walk joins: points drawn of the generator's own law (drawn), or those of two training patients"
    walk.add_argument("--ends", choices=ENDS, default=ENDS[0], help=between)
    walk.add_argument("--points", type=int, default=50, help="of a walk; its two ends are left out (50)")
    walk.add_argument("--steps", type=int, default=500, help="by which each walk is bent (500)")
    walk.add_argument("--learning-rate", type=float, default=0.1, help="of these steps (0.1)")
    store = commands.add_parser("store", help="put a finished training of phantoms into weights/")
    store.add_argument("folder", help="of the finished training")
    store.add_argument("name", help="a new one, of letters, digits and hyphens")
    store.add_argument("--about", required=True, help="of which phantoms, and how these are drawn again")
    store.add_argument("--gate", nargs=2, action="append", default=[], metavar=("MEASURE", "VALUE"))
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
