"""Put what learnt nothing, or copies, in the generator's place of Osuala 2024, and list the verdicts of every claim.

    python -m tests.experiment.stand_ins [--folder FOLDER] [--only NAME …]

Its own notebooks run on the phantom with five quick repetitions, once for each stand-in, with the fidelity gate as it
is and without it; what a stand-in does not change is trained once. Takes about half an hour on two cores,
and is not part of `.ci/run`, where tests/experiment/test_claims_of_studies.py does the same with simulated values.
Prints a table, and exits with 1 if a stand-in replicates a claim that it must not (`MUST_NOT` says which and why).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml

from lib.experiment.paper import Paper, load_paper
from tests.paths import ROOT

NAME = "05_osuala2024_dpsgd"
NOTEBOOKS = ("01_train", "02_fidelity_gate", "02_fidelity_frd", "04_privacy_epsilon", "05_utility")
QUICK = {
    "phantom_patients": 892, "external_patients": 300, "phantom_size": 32, "gan_size": 32, "gan_epochs": 1,
    "gan_width": 8, "synthetic_per_class": 300, "repetitions": 5, "classifier_repetitions": 10, "classifier_seeds": 1,
    "real_epochs": 6, "synthetic_epochs": 4, "private_epochs": 4, "bootstrap_draws": 50, "frd_size": 32,
    "gate_images": 300,
}  # fmt: skip

_MCGAN = "generator.sample(len(labels), labels=labels, seed=seeds[number])"
_FRESH = 'numpy_generator(seeds[number], "stand-in")'
_MEANS = f"class_mean_noise(train.images[:], train.labels, wanted=labels, rng={_FRESH})"
_FURTHER = "Cohort.open(run.path(f'01_train/{number}/further.h5')).resized(s.gan_size)"
# For each class as many crops as are wanted, none twice before all once: a generator without fault.
_PERFECT = f"np.concatenate([np.resize({_FURTHER}[{_FURTHER}.labels == k].images[:], (s.synthetic_per_class,"
_PERFECT += " s.gan_size, s.gan_size)) for k in (0, 1)])"
_EVERY = "np.concatenate([np.resize(train[train.labels == k].images[:], (s.synthetic_per_class, s.gan_size,"
_EVERY += " s.gan_size)) for k in (0, 1)])"
STAND_INS = {
    "uniform noise": f"uniform_noise((len(labels), s.gan_size, s.gan_size), rng={_FRESH})",
    "class means": _MEANS,
    "constant image": f"128 + {_FRESH}.integers(0, 2, (len(labels), s.gan_size, s.gan_size), dtype=np.uint8)",
    "a tenth copied": "inject_copies({of}, source=train.images[:], share=len(train) / 10 / len(labels),"
    f" rng={_FRESH}).images".replace("{of}", _PERFECT),
    "training crops": _EVERY,
    "training crops, shuffled labels": f"{_EVERY}[{_FRESH}.permutation(len(labels))]",
}
_SHUFFLED = "real labels shuffled"  # of every split: nothing is left that a classifier could learn
_GENERATOR = "generator"
_DRAWN = "patients_of(number), strict=True):\n"
_SHUFFLE = """        rng = numpy_generator(seeds[number], "no finding", name)
        part.labels = shuffled(part.labels, groups=part.patient, rng=rng)
"""
MUST_NOT = {  # stand-in -> claims that it must not replicate: those of the generator, M1, or all
    "uniform noise": (_GENERATOR, "images of no patient"),
    "class means": (_GENERATOR, "no image of a mass"),
    "constant image": (_GENERATOR, "no image at all"),
    "a tenth copied": ("M1", "a tenth of the training crops is given away"),
    "training crops": ("M1", "every training crop is given away"),
    "training crops, shuffled labels": ("M1", "every training crop is given away"),
    _SHUFFLED: ("all", "there is no finding"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Verdicts of Osuala 2024 where something else draws the images.")
    parser.add_argument("--folder", type=Path, help="where the notebooks run; default: a temporary one")
    parser.add_argument("--only", nargs="+", choices=[*MUST_NOT], default=[*MUST_NOT])
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="stand-ins-"))
    rows, faults = [], []
    for name in arguments.only:
        base = folder / ("shuffled" if name == _SHUFFLED else "plain")
        paper = _prepare(base, name)
        for gate in ("on", "off"):
            _run(base, gate)
            for claim, record in _claims(base):
                rows.append({"stand-in": name, "gate": gate, "claim": claim, **record})
                if record["verdict"] == "replicated" and _is_forbidden(paper, name, claim):
                    faults.append(f"{claim} is replicated by {name}, gate {gate}: {MUST_NOT[name][1]}")
        found = pd.DataFrame(rows)
        found.to_csv(folder / "verdicts.csv", index=False)
        table = found[found["stand-in"] == name].pivot(index="claim", columns="gate", values="verdict")
        print(f"\n{name}\n{table.to_string()}", flush=True)
    print("\n".join(faults) or f"nothing is replicated that must not be; all values: {folder / 'verdicts.csv'}")
    return bool(faults)


def _is_forbidden(paper: Paper, name: str, claim: str) -> bool:
    what = MUST_NOT[name][0]
    return what == "all" or what == claim or (what == _GENERATOR and paper.claims[claim].generator)


def _prepare(base: Path, name: str) -> Paper:
    """The paper's folder in `base`, with quick settings and the stand-in in the generator's place."""
    notebooks = base / "notebooks"
    (notebooks / NAME).mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "notebooks" / "limits.yaml", notebooks)
    content = yaml.safe_load((ROOT / "notebooks" / NAME / "paper.yaml").read_text())
    for setting, value in QUICK.items():
        content["settings"][setting][1] = value
    for notebook in content["notebooks"]:
        shutil.copy(ROOT / "notebooks" / NAME / f"{notebook}.ipynb", notebooks / NAME)
    (notebooks / NAME / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    if name == _SHUFFLED:
        _replace(
            base, "01_train", "from lib.metrics.null_images import", "from lib.metrics.null_images import shuffled,"
        )
        _replace(base, "01_train", _DRAWN, _DRAWN + _SHUFFLE)
    else:
        copies = "from lib.metrics.privacy.controls.contamination import inject_copies\n"
        _replace(base, "01_train", "from lib.models.classifiers", copies + "from lib.models.classifiers")
        _replace(base, "01_train", f'"syn": {_MCGAN}', f'"syn": {STAND_INS[name]}')
        _replace(
            base, "01_train", ".std(axis=0).mean() > 2 for", ".std(axis=0).mean() >= 0 for"
        )  # a constant image may be
    return load_paper(notebooks / NAME)


def _run(base: Path, gate: str) -> None:
    if gate == "off":
        for notebook in ("02_fidelity_frd", "04_privacy_epsilon", "05_utility"):
            saved = 'pd.read_csv(run.need("02_fidelity_gate/shortfalls.csv")).why.tolist()'
            _replace(base, notebook, f"shortfalls = {saved}", "shortfalls = None")
    env = os.environ | {"SUITE_ROOT": str(base), "PYTHONPATH": str(ROOT), "SUITE_TRAIN": "1"}
    for notebook in NOTEBOOKS if gate == "on" else NOTEBOOKS[2:]:
        command = [sys.executable, "-m", "lib.runner", NAME, notebook, "--scale", "demo"]
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{notebook} failed:\n{done.stdout}{done.stderr}")


def _replace(base: Path, notebook: str, old: str, new: str) -> None:
    """Replace the text `old`, which stands once in the notebook's cells."""
    path = base / "notebooks" / NAME / f"{notebook}.ipynb"
    content = json.loads(path.read_text())
    here = [cell for cell in content["cells"] if old in "".join(cell["source"])]
    if len(here) != 1:
        raise SystemExit(f"{notebook}: {old!r} stands in {len(here)} cells, and should in one: this script is stale")
    here[0]["source"] = "".join(here[0]["source"]).replace(old, new)
    path.write_text(json.dumps(content))


def _claims(base: Path):
    for path in sorted((base / "data" / "runs" / "demo-phantom" / NAME / "claims").glob("*.json")):
        record = json.loads(path.read_text())
        low, high = record["interval"] or (None, None)
        others = {other: sum(values) / len(values) for other, values in record.get("others", {}).items()}
        row = {"verdict": record["verdict"], "value": record["value"], "low": low, "high": high, "p": record["p"]}
        yield path.stem, row | {"why": record["why"], "others": json.dumps(others)}


if __name__ == "__main__":
    sys.exit(main())
