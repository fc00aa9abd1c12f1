"""The command line of the suite. It needs nothing but Python, so that a typo is answered before any installation."""

import argparse
import ast
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.core.paths import COHORTS, SCALES

_ROOT = Path(os.environ.get("SUITE_ROOT") or Path(__file__).resolve().parents[2])
_USAGE = """./run_all.sh [smoke|demo|study|paper] [PAPER…] [options]
       ./run_all.sh test [PYTEST ARGUMENT…]
       ./run_all.sh check"""


@dataclass(frozen=True)
class Arguments:
    """What is to be run. `papers`: folders of notebooks/, all of them where none was named.

    `data`, `masks`: files of a user's own cohort, empty where there is none. `seeds`: each a run of its own.
    `settings`: those that replace the ones of paper.yaml. `jobs`: notebooks side by side, 0 for our choice. `executor`:
    Snakemake's, local or a cluster's; `snakemake`: what stood behind `--`, handed to Snakemake as it is.
    """

    scale: str
    papers: tuple[str, ...]
    cohort: str
    data: str
    masks: str
    seeds: tuple[int, ...]
    jobs: int
    dry_run: bool
    rehearse: bool
    train: bool
    settings: dict[str, Any]
    executor: str
    snakemake: tuple[str, ...]
    all_papers: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def _one_of(kind: str, known: tuple[str, ...]):
    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"unknown {kind} {text!r}: choose one of {', '.join(known)}")
        return text

    return check


def _whole(kind: str, smallest: int):
    def check(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{kind} {text!r}: give a whole number from {smallest}")
        return int(text)

    return check


def _seeds(text: str) -> tuple[int, ...]:
    """3, 0-4, or 0,2,5-7."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or dash and not last.isdecimal() or dash and int(last) < int(first):
            raise argparse.ArgumentTypeError(f"seed {text!r}: give a whole number from 0, or several: 0-4, or 0,2,5")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(seeds))


def value_of(text: str):
    """A notebook's parameter as typed: a Python literal where `text` is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE."""
    name, sign, value = text.partition("=")
    if not name or not sign or not value:
        raise argparse.ArgumentTypeError(f"setting {text!r}: give NAME=VALUE, such as epochs=50")
    return name.strip(), value_of(value.strip())


def _file(text: str) -> str:
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return text


def known_papers() -> list[str]:
    """The folders of notebooks/ that hold a paper.yaml, in order."""
    return sorted(path.parent.name for path in (_ROOT / "notebooks").glob("*/paper.yaml"))


def parse(argv: list[str]) -> Arguments:
    """Read the command line of run_all.sh.

    ValueError, one sentence, for anything that is not known, and for the scale paper without a cohort: whoever wants
    the published sizes may want the published images too, and would learn after days that phantoms were drawn.
    """
    parser = _Parser(prog="./run_all.sh", usage=_USAGE, description=__doc__.split(".")[0], allow_abbrev=False)
    parser.add_argument("what", nargs="*", metavar="SCALE | PAPER", help=", ".join([*SCALES, *known_papers()]))
    cohorts = f"{' or '.join(COHORTS)} (phantom; at scale paper it must be said)"
    parser.add_argument("--cohort", type=_one_of("cohort", COHORTS), help=cohorts)
    seeds = "root of every random stream, or several runs side by side: 0-4, or 0,2,5 (0)"
    parser.add_argument("--seed", "--seeds", dest="seeds", default=(0,), type=_seeds, help=seeds, metavar="N")
    parser.add_argument("--jobs", default=0, type=_whole("jobs", 1), help="notebooks run side by side")
    parser.add_argument("--dry-run", action="store_true", help="say what would run")
    parser.add_argument("--rehearse", action="store_true", help="paper: a few steps of it, and what the whole costs")
    parser.add_argument("--train", action="store_true", help="train anew what weights/ holds, and what it lacks")
    other = "in place of a setting of paper.yaml, for the papers that are named; a run of its own"
    parser.add_argument("--set", dest="settings", action="append", default=[], type=_setting, help=other, metavar="K=V")
    data = "your own cohort (python -m lib.cohorts convert makes one) for the papers that are named; a run of its own"
    parser.add_argument("--data", type=_file, help=data, metavar="FILE")
    parser.add_argument("--masks", type=_file, help="its masks, if another file has them", metavar="FILE")
    parser.add_argument("--executor", default="local", help="Snakemake's: slurm, kubernetes, … (local)")
    own, snakemake = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    options = [word.split("=")[0] for word in own if word.startswith("-") and not word[1:].isdecimal()]
    known = [option for action in parser._actions for option in action.option_strings]
    for option in options:
        if option not in known:
            raise ValueError(f"unknown option {option}: known are {', '.join(o for o in known if len(o) > 2)}")
    found = parser.parse_intermixed_args(own)
    scales = [word for word in found.what if word in SCALES]
    if len(scales) > 1:
        raise ValueError(f"two scales, {' and '.join(scales)}: give one")
    papers = [word.rstrip("/").removeprefix("notebooks/") for word in found.what if word not in SCALES]
    for word in papers:
        if word not in known_papers():
            raise ValueError(
                f"unknown scale or paper {word!r}: scales are {', '.join(SCALES)}; "
                f"papers are {', '.join(known_papers()) or 'none'}"
            )
    scale = scales[0] if scales else "demo"
    if found.settings and (not papers or found.executor != "local" or found.rehearse):
        raise ValueError("--set replaces settings of a paper, here: name the paper, and no executor or rehearsal")
    if found.data and (not papers or found.cohort or found.executor != "local" or found.rehearse):
        raise ValueError(
            "--data is the cohort of a paper, here: name the paper, and no --cohort, executor or rehearsal"
        )
    if found.masks and not found.data:
        raise ValueError("--masks are those of a cohort: give it by --data")
    if found.rehearse and (scale != "paper" or found.cohort == "public" or found.executor != "local"):
        raise ValueError("--rehearse draws phantoms in published numbers, here: give it to the scale paper alone")
    if scale == "paper" and found.cohort is None and not (found.rehearse or found.data):
        raise ValueError(
            "scale paper trains for days: say on whose images by --cohort public, or --cohort phantom for drawn ones"
        )
    return Arguments(
        scale=scale,
        papers=tuple(dict.fromkeys(papers)) or tuple(known_papers()),
        cohort="own" if found.data else found.cohort or "phantom",
        data=found.data or "",
        masks=found.masks or "",
        seeds=found.seeds,
        jobs=found.jobs,
        dry_run=found.dry_run,
        rehearse=found.rehearse,
        train=found.train,
        settings=dict(found.settings),
        executor=found.executor,
        snakemake=tuple(snakemake),
        all_papers=not papers,
    )


if __name__ == "__main__":
    try:
        parse(sys.argv[1:])
    except ValueError as problem:
        print(f"run_all.sh: {problem}", file=sys.stderr)
        sys.exit(2)
