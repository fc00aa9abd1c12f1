"""What the audit says of a generator that was trained long on few patients.

    python benchmarks/audit_overfitted.py cbis_ddsm [--generator stylegan2] [--patients 50] [--steps 20000] [--seed 0]

A generator, by the recipe of its paper's `study` but for the length and, of the StyleGAN2, without augmentation, learns
the images of few patients of a public cohort (with `--patients 0` of all). 300 images that it draws are audited against
those and against the images of 100 held-out patients, whom it never saw. Whether it has memorised is measured without
the audit: the correlation of each drawn image with the learnt image that it is most like, pixel by pixel, mirrored or
not, beside that with the held-out ones. Of a network that has not, "no copies found" is right. Training and row lie in
data/runs/benchmarks; a training that is there, finished or not, is gone on with, and a row is not measured again.
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

DRAWN, HELD_OUT, SIZE = 300, 100, 64
_OSUALA, _PENNISI = (
    load_paper(root() / "notebooks" / name).column("study") for name in ("05_osuala2024_dpsgd", "04_pennisi2023_walk")
)
_STYLE = {name: value for name, value in _PENNISI["gan"].items() if name not in ("steps", "ada_kimg")}
RECIPES = {
    "dcgan": {name: _OSUALA[f"gan_{name}"] for name in ("batch", "width", "norm", "ema", "learning_rate")},
    "stylegan2": _STYLE | {"maps": _PENNISI["maps"], "ada_target": None},
}


def sides(name: str, patients: int, seed: int) -> tuple[Cohort, Cohort]:
    """Images of `patients` patients that are learnt (0: all but those held out), and of HELD_OUT patients."""
    cohort = open_public(name).resized(SIZE)
    who = numpy_generator(seed, "patients").permutation(np.unique(cohort.patient))
    learnt = who[HELD_OUT : HELD_OUT + patients if patients else None]
    return cohort[np.isin(cohort.patient, learnt)], cohort[np.isin(cohort.patient, who[:HELD_OUT])]


def measured(learnt: Cohort, heldout: Cohort, generator: str, *, path: Path, steps: int, seed: int) -> dict:
    """The row: what the audit says of the images of a generator that is trained in `path`."""
    began = time.perf_counter()
    labels = learnt.labels if learnt.labels.ndim == 1 else learnt.labels.any(axis=1).astype(int)
    found = generators.train(
        generator, learnt.images[:], labels, path=path, seed=seed, steps=steps, unless_stored=None, **RECIPES[generator]
    )
    trained, asked = time.perf_counter() - began, np.arange(DRAWN) % 2
    synthetic = Cohort(
        found.sample(DRAWN, labels=asked, seed=seed), np.arange(DRAWN), asked, np.zeros(DRAWN), name="drawn",
        modality=learnt.modality, label_names=("0", "1"), licence=learnt.licence, source="audit_overfitted",
        made_by=f"{generator} on {learnt.name}",
    )  # fmt: skip
    sets = open_sets(
        train=learnt, heldout=heldout, synthetic=synthetic, sizes=SIZES, audit_size=SIZES[0], most=10**6,
        rng=numpy_generator(seed, "open"),
    )  # fmt: skip
    found = assess(sets, THOROUGH._replace(splits=40), seed=seed)
    matched, test = found.found.sets[GIVEN]
    drawn = sets.small["synthetic"]
    row = {"images learnt": len(learnt), "steps": steps, "answer": found.verdict.answer, "p": test.pvalue}
    row |= {"too close by itself": float((test.pair_pvalues <= THOROUGH.level).mean())}
    row |= {"nearest was learnt": float(found.found.of_training[matched.nearest].mean())}
    for name, what in (("train", "learnt"), ("heldout", "held-out")):
        most = most_alike(drawn, sets.small[name])
        row |= {
            f"correlation with the {what} image most alike, quartiles": np.quantile(most, [0.25, 0.5, 0.75]).tolist()
        }
    row |= {"real images that were learnt": float(found.found.of_training.mean())}
    row |= {"median distance ratio": float(np.median(matched.ratio)), "because": list(found.verdict.because)}
    return row | {"training, seconds": trained, "revision": revision()}


def most_alike(drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The largest correlation (s,) of each of the images drawn (s, H, H) with a real one (n, H, H), mirrored or not."""
    real = np.concatenate([real, real[:, :, ::-1]])
    one, other = (of.reshape(len(of), -1).astype(np.float32) for of in (drawn, real))
    one, other = (of - of.mean(axis=1, keepdims=True) for of in (one, other))
    one, other = (of / np.linalg.norm(of, axis=1, keepdims=True) for of in (one, other))
    return (one @ other.T).max(axis=1)


def main() -> None:
    """Measure the row unless it is there, and print all."""
    parser = argparse.ArgumentParser(prog="python benchmarks/audit_overfitted.py")
    parser.add_argument("cohort", help="cbis_ddsm, nih_cxr14_1000 or another public one")
    parser.add_argument("--generator", choices=RECIPES, default="dcgan")
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(root() / "data" / "runs" / "benchmarks")
    name = f"audit_overfitted_{options.cohort}_{options.generator}_{options.patients}_{options.steps}_{options.seed}"
    out = folder / f"{name}.json"
    if not out.exists():
        learnt, heldout = sides(options.cohort, options.patients, options.seed)
        print(f"{len(learnt)} images are learnt, {len(heldout)} held out", flush=True)
        row = measured(learnt, heldout, options.generator, path=folder / name, steps=options.steps, seed=options.seed)
        with atomic(out) as partial:
            partial.write_text(json.dumps(row, indent=1), encoding="utf-8")
    for file in sorted(folder.glob("audit_overfitted_*.json")):
        print(file.stem, file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
