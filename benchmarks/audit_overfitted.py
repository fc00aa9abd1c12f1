"""What the audit says of a generator that was trained long on few patients.

    python benchmarks/audit_overfitted.py cbis_ddsm [--patients 50] [--steps 20000] [--seed 0]

The MCGAN of Osuala 2024, by the recipe of its `study` but for the length, learns the images of few patients of a public
cohort (with `--patients 0` of all). 300 images that it draws are audited against those and against the images of 100
held-out patients, whom it never saw. Training and row lie in data/runs/benchmarks; a training that is there, finished
or not, is gone on with, and a row is not measured again. Look at the images first: of a network that has not memorised,
"no copies found" is right.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from lib import generators
from lib.audit.assessment import THOROUGH, assess
from lib.audit.copies import GIVEN
from lib.audit.inputs import SIZES, open_sets
from lib.cohorts.cohort import Cohort
from lib.cohorts.public import open_public
from lib.core.files import atomic
from lib.core.paths import root
from lib.core.revision import revision
from lib.core.seeding import numpy_generator
from lib.experiment.paper import load_paper

DRAWN, HELD_OUT = 300, 100
_STUDY = load_paper(root() / "notebooks" / "05_osuala2024_dpsgd").column("study")
RECIPE = {name: _STUDY[f"gan_{name}"] for name in ("batch", "width", "norm", "ema", "learning_rate")}
RECIPE |= {"precision": _STUDY["precision"]}


def sides(name: str, patients: int, seed: int) -> tuple[Cohort, Cohort]:
    """Images of `patients` patients that are learnt (0: all but those held out), and of HELD_OUT patients."""
    cohort = open_public(name).resized(_STUDY["gan_size"])
    who = numpy_generator(seed, "patients").permutation(np.unique(cohort.patient))
    learnt = who[HELD_OUT : HELD_OUT + patients if patients else None]
    return cohort[np.isin(cohort.patient, learnt)], cohort[np.isin(cohort.patient, who[:HELD_OUT])]


def measured(learnt: Cohort, heldout: Cohort, *, path: Path, steps: int, seed: int) -> dict:
    """The row: what the audit says of the images of a generator that is trained in `path`."""
    began = time.perf_counter()
    labels = learnt.labels if learnt.labels.ndim == 1 else learnt.labels.any(axis=1).astype(int)
    generator = generators.train(
        "dcgan", learnt.images[:], labels, path=path, seed=seed, steps=steps, unless_stored=None, **RECIPE
    )
    trained, asked = time.perf_counter() - began, np.arange(DRAWN) % 2
    synthetic = Cohort(
        generator.sample(DRAWN, labels=asked, seed=seed), np.arange(DRAWN), asked, np.zeros(DRAWN), name="drawn",
        modality=learnt.modality, label_names=("0", "1"), licence=learnt.licence, source="audit_overfitted",
        made_by=f"MCGAN on {learnt.name}",
    )  # fmt: skip
    sets = open_sets(
        train=learnt, heldout=heldout, synthetic=synthetic, sizes=SIZES, audit_size=SIZES[0], most=10**6,
        rng=numpy_generator(seed, "open"),
    )  # fmt: skip
    found = assess(sets, THOROUGH._replace(splits=40), seed=seed)
    matched, test = found.found.sets[GIVEN]
    row = {"images learnt": len(learnt), "steps": steps, "answer": found.verdict.answer, "p": test.pvalue}
    row |= {"too close by itself": float((test.pair_pvalues <= THOROUGH.level).mean())}
    row |= {"nearest was learnt": float(found.found.of_training[matched.nearest].mean())}
    row |= {"real images that were learnt": float(found.found.of_training.mean())}
    row |= {"median distance ratio": float(np.median(matched.ratio)), "because": list(found.verdict.because)}
    return row | {"training, seconds": trained, "revision": revision()}


def main() -> None:
    """Measure the row unless it is there, and print all."""
    parser = argparse.ArgumentParser(prog="python benchmarks/audit_overfitted.py")
    parser.add_argument("cohort", help="cbis_ddsm, nih_cxr14_1000 or another public one")
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(root() / "data" / "runs" / "benchmarks")
    name = f"audit_overfitted_{options.cohort}_{options.patients}_{options.steps}_{options.seed}"
    out = folder / f"{name}.json"
    if not out.exists():
        learnt, heldout = sides(options.cohort, options.patients, options.seed)
        print(f"{len(learnt)} images are learnt, {len(heldout)} held out", flush=True)
        row = measured(learnt, heldout, path=folder / name, steps=options.steps, seed=options.seed)
        with atomic(out) as partial:
            partial.write_text(json.dumps(row, indent=1), encoding="utf-8")
    for file in sorted(folder.glob("audit_overfitted_*.json")):
        print(file.stem, file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
