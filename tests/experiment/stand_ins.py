"""Put what learnt nothing, or copies, in a generator's place, and list the verdicts of every claim.

    python -m tests.experiment.stand_ins 05_osuala2024_dpsgd [--folder FOLDER] [--only NAME …]

The notebooks of one paper run on the phantom with five quick repetitions, once for each stand-in, with the fidelity
gate as it is and without it; what a stand-in does not change is trained once. Takes about half an hour on two cores a
paper, and is not part of `.ci/run`, where tests/experiment/test_claims_of_studies.py does the same with simulated
values. Prints a table, and exits with 1 if a stand-in replicates a claim that it must not (`must_not` says which and
why).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

from lib.experiment.paper import Paper, load_paper
from tests.paths import ROOT

_GENERATOR = "generator"
_SHUFFLED = "real labels shuffled"  # of every split: nothing is left that a classifier could learn
_FRESH = 'numpy_generator(seeds[number], "stand-in")'


class Study(NamedTuple):
    """What is run of a paper, and where something stands in its generator's place."""

    notebooks: tuple[str, ...]  # in order
    gate: str  # the notebook that leaves shortfalls.csv
    gated: tuple[str, ...]  # those that read it
    quick: dict  # settings of demo
    drawn: str  # the expression in `trains` that draws the units
    stand_ins: dict[str, str]  # name -> what is put in its place
    must_not: dict[
        str, tuple
    ]  # stand-in -> claims that it must not replicate (all, those of the generator, names); why
    also: tuple[tuple[str, str, str], ...] = ()  # (notebook, old, new): what else is replaced for every stand-in
    shuffle: tuple[tuple[str, str, str], ...] = ()  # what is replaced for shuffled labels
    ungated: tuple[tuple[str, str, str], ...] = ()  # what else is replaced to leave the gate open
    trains: str = "01_train"  # the notebook
    elsewhere: dict[str, tuple[tuple[str, str, str], ...]] = {}  # stand-in -> what else is replaced for it


def _osuala() -> Study:
    means = f"class_mean_noise(train.images[:], train.labels, wanted=labels, rng={_FRESH})"
    further = "Cohort.open(run.path(f'01_train/{number}/further.h5')).resized(s.gan_size)"
    size = "(s.synthetic_per_class, s.gan_size, s.gan_size)"
    # For each class as many crops as are wanted, none twice before all once: a generator without fault.
    perfect = f"np.concatenate([np.resize({further}[{further}.labels == k].images[:], {size}) for k in (0, 1)])"
    every = f"np.concatenate([np.resize(train[train.labels == k].images[:], {size}) for k in (0, 1)])"
    copies = "from lib.metrics.privacy.controls.contamination import inject_copies\n"
    every_patient = "patients_of(number), strict=True):\n"
    # But for C11_order: that such crops lie nearer to real ones than another hospital's do is true, and asks no label.
    of_labels = (
        *(f"C{k}_{place}" for k in (3, 4, 6, 8) for place in ("internal", "external")),
        "C5_strict", "C5_mild", "C5_strict_external", "C5_mild_external", "C7_external", "C10_highest", "M1",
    )  # fmt: skip
    shuffle = """        rng = numpy_generator(seeds[number], "no finding", name)
        part.labels = shuffled(part.labels, groups=part.patient, rng=rng)
"""
    tenth = f"inject_copies({perfect}, source=train.images[:], share=len(train) / 10 / len(labels), rng={_FRESH})"
    return Study(
        notebooks=("01_train", "02_fidelity_gate", "02_fidelity_frd", "04_privacy_epsilon", "05_utility"),
        gate="02_fidelity_gate",
        gated=("02_fidelity_frd", "04_privacy_epsilon", "05_utility"),
        quick={
            "phantom_patients": 892, "external_patients": 300, "phantom_size": 32, "gan_size": 32, "gan_epochs": 40,
            "gan_width": 8, "synthetic_per_class": 300, "repetitions": 5, "classifier_repetitions": 10,
            "classifier_seeds": 1, "real_epochs": 6, "synthetic_epochs": 4, "private_epochs": 4, "bootstrap_draws": 50,
            "frd_size": 32, "gate_images": 300,
        },
        drawn="generator.sample(len(labels), labels=labels, seed=seeds[number])",
        stand_ins={
            "uniform noise": f"uniform_noise((len(labels), s.gan_size, s.gan_size), rng={_FRESH})",
            "class means": means,
            "constant image": f"128 + {_FRESH}.integers(0, 2, (len(labels), s.gan_size, s.gan_size), dtype=np.uint8)",
            "a tenth copied": f"{tenth}.images",
            "training crops": every,
            "training crops, shuffled labels": f"{every}[{_FRESH}.permutation(len(labels))]",
        },
        must_not={
            "uniform noise": ((_GENERATOR,), "images of no patient"),
            "class means": ((_GENERATOR,), "no image of a mass"),
            "constant image": ((_GENERATOR,), "no image at all"),
            "a tenth copied": (("M1",), "a tenth of the training crops is given away"),
            "training crops": (("M1",), "every training crop is given away"),
            "training crops, shuffled labels": (
                of_labels,
                "its labels say nothing, and every crop is given away",
            ),
            _SHUFFLED: (("all",), "there is no finding"),
        },
        also=(
            ("01_train", "from lib.models.classifiers", copies + "from lib.models.classifiers"),
            # a constant image may be
            ("01_train", ".std(axis=0).mean() > 2 for", ".std(axis=0).mean() >= 0 for"),
        ),
        shuffle=(
            ("01_train", "from lib.metrics.null_images import", "from lib.metrics.null_images import shuffled,"),
            ("01_train", every_patient, every_patient + shuffle),
        ),
    )  # fmt: skip


def _sun() -> Study:
    # Of every region that is asked for the units in turn, none twice before all once.
    in_turn = """def in_turn(part, asked):
    rows = np.empty(len(asked), int)
    for region in range(3):
        here = asked == region
        rows[here] = np.resize(np.flatnonzero(part.region == region), here.sum())
    return part.images[:][rows]


def as_cohort("""
    perfect = "in_turn(Cohort.open(run.path(f'01_train/{number}/further.h5')), asked)"
    tenth = f"inject_copies({perfect}, source=train.images[:], share=len(train) / 10 / len(asked), rng={_FRESH})"
    silent = tuple(f"A4_{attack}" for attack in ("pairwise", "pairwise_umap", "density", "density_umap"))
    silent += ("A4_density_matched",)
    of_units = (*silent, "A8_pairwise", "A8_density", "B1", "B5", "B2_synthetic", "B2_synthetic_same_trial", "B2_gap")
    return Study(
        notebooks=(
            "01_train", "02_fidelity", "03_diversity_umap", "03_diversity_classifier", "04_privacy_toys",
            "04_privacy_pairwise", "04_privacy_density",
        ),
        gate="02_fidelity",
        gated=("03_diversity_classifier", "04_privacy_pairwise", "04_privacy_density"),
        quick={
            "patients": [120, 60, 60], "further_patients": 130, "candidate_patients": 57, "image_size": 32,
            "attack_size": 16, "classifier_size": 32, "umap_size": [32, 32], "width": 4, "steps": 4,
            "published_steps": 4, "synthetic": 1000, "attack_units": 1000, "gate_images": 300, "repetitions": 5,
            "released_repetitions": 5, "schedule_repetitions": 0, "classifier_repetitions": 5, "umap_rows": 300,
            "overlap_units": 300, "toy_points": 200, "bootstrap_draws": 50, "permutations": 50,
        },
        drawn="trained(name, number)[1].sample(len(asked), labels=asked, seed=seeds[number])",
        stand_ins={
            "uniform noise": f"uniform_noise((len(asked), 9, s.image_size, s.image_size), rng={_FRESH})",
            "class means": f"class_mean_noise(train.images[:], train.region, wanted=asked, rng={_FRESH})",
            "a tenth copied": f"{tenth}.images",
            "training units": "in_turn(train, asked)",
        },
        # A2_blind is of a memorising generator, and may be replicated whatever stands in the trained one's place.
        must_not={
            "uniform noise": (of_units, "units of no patient"),
            "class means": (of_units, "no unit of a patient"),
            "a tenth copied": (silent, "a tenth of the training units is given away"),
            "training units": (silent, "every training unit is given away"),
        },
        also=(("01_train", "def as_cohort(", in_turn),),
        ungated=(("02_fidelity", 'shortfalls=short["pgan"]', "shortfalls=None"),),
    )  # fmt: skip


def _han() -> Study:
    further = "Cohort.open(run.path(f'01_train/{number}/further {name}.h5'))"
    size = "(len(asked), *train.images.shape[1:])"
    # Every radiograph of further patients in turn: a generator without fault, but for the labels that were asked for.
    perfect = f"np.resize({further}.images[:], {size})"
    tenth = f"inject_copies({perfect}, source=train.images[:], share=0.1, rng={_FRESH})"
    copies = "from lib.metrics.privacy.controls.contamination import inject_copies\n"
    silent = ("C13_pairwise", "C13_density")
    # Where a notebook asks the generator for radiographs of its own, the null that it knows draws them.
    ask, add = '    if origin == "generated":\n        generator = generators.load', '    if origin == "label means":\n'
    more = '    elif origin == "label means":\n'
    noise = tuple(
        (notebook, old, old.replace('"generated"', '"no longer asked"'))
        for notebook, old in (("03_diversity_correlation", ask), ("05_utility_rare", ask.replace("if", "elif", 1)))
    )
    means = (
        *noise,
        ("03_diversity_correlation", add, add.replace('== "label means"', 'in ("label means", "generated")')),
        ("05_utility_rare", more, more.replace('== "label means"', 'in ("label means", "generated")')),
    )
    return Study(
        notebooks=(
            "01_train", "01_train_normalisation", "02_fidelity_gate", "02_fidelity", "03_diversity_similarity",
            "03_diversity_correlation", "04_privacy", "05_utility", "05_utility_rare",
        ),
        gate="02_fidelity_gate",
        gated=(
            "02_fidelity", "03_diversity_similarity", "03_diversity_correlation", "04_privacy", "05_utility",
            "05_utility_rare",
        ),
        quick={
            "patients_a": [150, 40, 260], "patients_b": [200, 40, 40], "further_patients": 150,
            "external_patients": 20, "image_size": 32, "total_kimg": 0.5, "level_kimg": 0.064, "latent": 16,
            "maps": [16, 128], "repetitions": 5, "gate_images": 300, "frechet_images": 100, "similarity_pairs": 40,
            "controls": 200, "doses": 10, "attack_size": 16, "evaluation_steps": 40, "rare_shares": [1],
            "bootstrap_draws": 50, "federated_repetitions": 1,
        },
        drawn="generator.sample(len(asked), labels=asked, seed=seeds[number])",
        stand_ins={
            "uniform noise": f"uniform_noise({size}, rng={_FRESH})",
            "label means": f"label_mean_noise(train.images, train.labels, wanted=asked, rng={_FRESH})",
            "a tenth copied": f"{tenth}.images",
            "training radiographs": f"np.resize(train.images[:], {size})",
        },
        must_not={
            "uniform noise": ((_GENERATOR,), "radiographs of no patient"),
            "label means": ((_GENERATOR,), "no radiograph of a patient"),
            "a tenth copied": (silent, "a tenth of the training radiographs is given away"),
            "training radiographs": (silent, "every training radiograph is given away"),
        },
        also=(("01_train", "from lib.models.classifiers", copies + "from lib.models.classifiers"),),
        elsewhere={"uniform noise": noise, "label means": means},
    )  # fmt: skip


def _montenegro() -> Study:
    """In the place of all cases that PP-MIR and PP-SIR draw, and of the counterfactual ones, made from the factual."""
    drawn = "anonymise(network, of.images[:], of.masks[:], seed=k), of"
    turned = "anonymise(network, images, masks, seed=k, decoder=decoder)"
    made = {  # of images `x`, with the cohort that they are from, `of`, and the finding `wanted`
        "uniform noise": "uniform_noise(x.shape, rng=numpy_generator(k, 'stand-in'))",
        "class means": "means_of(of)[wanted]",
        "blur": "blurred(x, sigma=s.blur)",
        "k-Same": "average_with_nearest_people(x, of.patient, gallery=of.split == 0, k=s.k)",
    }
    means = """

def means_of(of):
    train = of.subset("train")
    return np.stack([train.images[train.labels == label].mean(axis=0) for label in (0, 1)]).round().astype(np.uint8)


"""
    names = """("PP-MIR", "PP-SIR", "no leak")"""

    def of_originals(how: str) -> str:
        given = (
            how.replace("wanted", "of.labels").replace("x.shape", "of.images.shape").replace("(x,", "(of.images[:],")
        )
        return f"({given} if name in {names} else {drawn.removesuffix(', of')}), of"

    def of_factual(how: str) -> str:
        given = how.replace("wanted", "1 - test.labels").replace("(of)", "(whole)").replace("x.shape", "images.shape")
        return given.replace("(x,", "(factual,").replace(
            "of.patient, gallery=of.split == 0", "test.patient, gallery=True"
        )

    per_stand_in = {
        name: (("01_train_counterfactual", turned, of_factual(how)),) for name, how in made.items() if name != "k-Same"
    }
    of_networks = (
        "A10_realism", "A6_inside", "A6_outside", "A11_flip", "A11_place", "A11_identity", "A2_hidden", "A2_entropy",
        "A4_hidden", "A4_people", "A12_no_leak", "A5_finding",
    )  # fmt: skip
    return Study(
        notebooks=(
            "01_train_classifiers", "01_train_anonymiser", "02_fidelity", "01_train_counterfactual", "04_privacy",
            "05_utility",
        ),
        gate="02_fidelity",
        gated=(),
        quick={
            "patients": 12, "images": 10, "image_size": 32, "repetitions": 5, "evidence_repetitions": 5,
            "leak_repetitions": 5, "other_repetitions": 0, "classifier_repetitions": 5, "classifier_epochs": 8,
            "attacker_epochs": 8, "siamese_steps": 60, "steps": 15, "distance_steps": 15, "bootstrap_draws": 50,
            "anonymiser": {
                "batch": 16, "kernel": 4, "width": 16, "latent": 8, "dropout": 0.0, "learning_rate": 1e-3,
                "betas": [0.5, 0.9], "critic_steps": 1, "generator_steps": 1,
            },
            "counterfactual": {"steps": 4, "batch": 16, "learning_rate": 1e-3}, "blur": 0.5,
        },
        trains="01_train_anonymiser",
        drawn=drawn,
        stand_ins={name: of_originals(how) for name, how in made.items()},
        elsewhere=per_stand_in,
        must_not={
            "uniform noise": (of_networks, "images of nothing"),
            "class means": (of_networks, "the finding and nothing of the case"),
            "blur": (of_networks, "a filter"),
            "k-Same": (tuple(name for name in of_networks if "A11" not in name), "an average of people"),
        },
        also=(
            ("01_train_anonymiser", "def without(term):", f"{means}def without(term):"),
            ("01_train_counterfactual", "def grey(images):", f"{means}def grey(images):"),
        ),
        ungated=(
            ("02_fidelity", 'shortfalls=short["PP-MIR"]', "shortfalls=None"),
            ("01_train_counterfactual", 'shortfalls = gate[gate["set"] == "PP-MIR"].why.tolist()', "shortfalls = None"),
            ("04_privacy", 'return gate[gate["set"] == name].why.tolist()', "return None"),
            ("05_utility", 'shortfalls = gate[gate["set"] == "PP-MIR"].why.tolist()', "shortfalls = None"),
        ),
    )  # fmt: skip


def _pennisi() -> Study:
    """Here PLAN is what is stood in for, in its walks and in what is released from them; the generators stay."""
    same = "require_weights(s.perceptual)"  # 01_train is as it is
    blind = "detour({0}[:, 0], {0}[:, -1], energy=step_energy({0}), points={0}.shape[1], rng={1})"
    walk, released = (
        "            walk = walks[number, of]\n",
        '            sets[f"{prefix}{words}"] = np.concatenate(images), some.labels\n',
    )
    bent = blind.format("walk.plan", _FRESH)
    copied = """            if bend == "plan":
                members = train_of(number)
                rows = [np.resize(np.flatnonzero(members.labels == c), s.released) for c in range(classes)]
                rows = np.concatenate(rows)
                sets[f"{prefix}{words}"] = members.images[:][rows], members.labels[rows]
"""
    nothing = """            if bend == "plan":
                from lib.metrics.null_images import class_mean_noise, uniform_noise

                members, images = train_of(number), np.concatenate(images)
                sets[f"{{prefix}}{{words}}"] = {}, some.labels
"""
    noise = f"uniform_noise(images.shape, rng={_FRESH})"
    means = f"class_mean_noise(members.images[:], members.labels, wanted=some.labels, rng={_FRESH})"
    detoured = (
        ("01_train_walks", "import spacing_variation, step_energy", "import detour, spacing_variation, step_energy"),
        ("01_train_walks", walk, f"{walk}            walk = walk._replace(plan={bent})\n"),
        ("03_diversity_walk", '"plan": found.plan,', f'"plan": {blind.format("found.plan", _FRESH)},'),
        ("03_diversity_controls", '"PLAN": plan}', f'"PLAN": {blind.format("plan", _FRESH)}}}'),
    )  # fmt: skip
    of_plan = (
        "B7", "B8", "B8_patients", "B8_decoder", "B9", "B13", "C3_detour", "C3_untrained", "B6", "B6_drawn",
        "C3_closest", "L_both", "L_ends", "B10_gap", "B10_linear", "B11", "C8_lci", "C8_salsa", "C8_averages",
    )  # fmt: skip
    silent = tuple(f"L_{attack}_{of}" for attack in ("near", "pairwise", "identity") for of in ("plan", "lci", "salsa"))
    of_released = (*silent, "B10_plan", "B10_gap", "B10_linear", "B11", "C6_real", "C8_lci", "C8_salsa", "C8_averages")
    asked = 'failed.why[failed["set"] == {}].tolist()'
    one = ("02_fidelity", "03_diversity_controls")
    of_what_is_released = ("04_privacy_linkage", "04_privacy_membership", "05_utility")
    each = {"03_diversity_walk": "KINDS[kind][1]", "04_privacy": "gates[kind]"}
    of_sets = 'return failed.why[failed["set"].isin(names)].tolist()'
    always = asked.format('"StyleGAN2"')
    return Study(
        notebooks=(
            "01_train", "01_train_walks", "02_fidelity_gate", "02_fidelity", "02_fidelity_walks", "03_diversity_walk",
            "03_diversity_controls", "04_privacy", "04_privacy_linkage", "04_privacy_membership", "05_utility",
        ),
        gate="02_fidelity_gate",
        gated=(),
        quick={
            "image_size": 32, "patients": [100, 40, 520], "further_patients": 100, "maps": [16, 128],
            "gan": {"steps": 60, "batch": 8, "latent": 16, "path_weight": 0.0, "mixing": 0.0, "ada_target": None},
            "autodecoder": {"steps": 300, "batch": 8, "latent": 16, "learning_rate": 2.0e-2},
            "autodecoder_maps": [16, 128], "repetitions": 5, "classifier_repetitions": 5, "epochs": 5,
            "gate_images": 150, "control_pairs": 2, "projected": 20, "map_size": 8, "attack_draws": 20,
            "bootstrap_draws": 50,
        },
        drawn=same,
        stand_ins=dict.fromkeys(("blind detour", "training images", "uniform noise", "class means"), same),
        must_not={
            "uniform noise": (of_released, "images of no patient"),
            "class means": (of_released, "no image of a patient"),
            "blind detour": (of_plan, "a walk that knows of no patient"),
            "training images": (silent, "the training images themselves are released"),
        },
        ungated=(
            *((notebook, f"shortfalls = {always}", "shortfalls = None") for notebook in one),
            *((notebook, f"return {asked.format(which)}", "return None") for notebook, which in each.items()),
            *((notebook, of_sets, "return None") for notebook in of_what_is_released),
        ),
        elsewhere={
            "blind detour": detoured,
            "training images": (("01_train_walks", released, released + copied),),
            "uniform noise": (("01_train_walks", released, released + nothing.format(noise)),),
            "class means": (("01_train_walks", released, released + nothing.format(means)),),
        },
    )  # fmt: skip


STUDIES = {
    "01_han2019_radiographs": _han,
    "02_sun2021_vertebrae": _sun,
    "03_montenegro2021_cases": _montenegro,
    "04_pennisi2023_walk": _pennisi,
    "05_osuala2024_dpsgd": _osuala,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Verdicts of a paper where something else draws its images.")
    parser.add_argument("paper", choices=[*STUDIES])
    parser.add_argument("--folder", type=Path, help="where the notebooks run; default: a temporary one")
    parser.add_argument("--only", nargs="+", help="some of the stand-ins")
    arguments = parser.parse_args()
    name_of_paper, study = arguments.paper, STUDIES[arguments.paper]()
    only = arguments.only or [*study.must_not]
    if unknown := sorted(set(only) - set(study.must_not)):
        parser.error(f"unknown stand-in {unknown[0]!r}: choose of {', '.join(study.must_not)}")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="stand-ins-"))
    rows, faults = [], []
    for name in only:
        base = folder / ("shuffled" if name == _SHUFFLED else "plain")
        paper = _prepare(base, name_of_paper, study, name)
        for gate in ("on", "off"):
            _run(base, name_of_paper, study, gate)
            for claim, record in _claims(base, name_of_paper):
                rows.append({"stand-in": name, "gate": gate, "claim": claim, **record})
                if record["verdict"] == "replicated" and _is_forbidden(paper, study, name, claim):
                    faults.append(f"{claim} is replicated by {name}, gate {gate}: {study.must_not[name][1]}")
        found = pd.DataFrame(rows)
        found.to_csv(folder / "verdicts.csv", index=False)
        table = found[found["stand-in"] == name].pivot(index="claim", columns="gate", values="verdict")
        print(f"\n{name}\n{table.to_string()}", flush=True)
    print("\n".join(faults) or f"nothing is replicated that must not be; all values: {folder / 'verdicts.csv'}")
    return bool(faults)


def _is_forbidden(paper: Paper, study: Study, name: str, claim: str) -> bool:
    what = study.must_not[name][0]
    return "all" in what or claim in what or (_GENERATOR in what and paper.claims[claim].generator)


def _prepare(base: Path, paper: str, study: Study, name: str) -> Paper:
    """The paper's folder in `base`, with quick settings and the stand-in in the generator's place."""
    notebooks = base / "notebooks"
    (notebooks / paper).mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "notebooks" / "limits.yaml", notebooks)
    content = yaml.safe_load((ROOT / "notebooks" / paper / "paper.yaml").read_text())
    for setting, value in study.quick.items():
        content["settings"][setting][1] = value
    for notebook in content["notebooks"]:
        shutil.copy(ROOT / "notebooks" / paper / f"{notebook}.ipynb", notebooks / paper)
    (notebooks / paper / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    replaced = study.shuffle if name == _SHUFFLED else study.also
    if name != _SHUFFLED:
        replaced += ((study.trains, study.drawn, study.stand_ins[name]), *study.elsewhere.get(name, ()))
    for notebook, old, new in replaced:
        _replace(notebooks / paper / f"{notebook}.ipynb", old, new)
    return load_paper(notebooks / paper)


def _run(base: Path, paper: str, study: Study, gate: str) -> None:
    if gate == "off":
        saved = f'pd.read_csv(run.need("{study.gate}/shortfalls.csv")).why.tolist()'
        opened = [(notebook, f"shortfalls = {saved}", "shortfalls = None") for notebook in study.gated]
        for notebook, old, new in (*opened, *study.ungated):
            _replace(base / "notebooks" / paper / f"{notebook}.ipynb", old, new)
    env = os.environ | {"SUITE_ROOT": str(base), "PYTHONPATH": str(ROOT), "SUITE_TRAIN": "1"}
    # Measurements rest on the gate's notebook, so with the gate off it runs last, and they are found again.
    again = [*study.gated, *(notebook for notebook, _, _ in study.ungated)]
    for notebook in study.notebooks if gate == "on" else again:
        command = [sys.executable, "-m", "lib.runner", paper, notebook, "--scale", "demo"]
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{notebook} failed:\n{done.stdout}{done.stderr}")


def _replace(path: Path, old: str, new: str) -> None:
    """Replace the text `old`, which stands in one of the notebook's cells."""
    content = json.loads(path.read_text())
    here = [cell for cell in content["cells"] if old in "".join(cell["source"])]
    if len(here) != 1:
        raise SystemExit(f"{path.stem}: {old!r} stands in {len(here)} cells, and should in one: this script is stale")
    here[0]["source"] = "".join(here[0]["source"]).replace(old, new)
    path.write_text(json.dumps(content))


def _claims(base: Path, paper: str):
    for path in sorted((base / "data" / "runs" / "demo-phantom" / paper / "claims").glob("*.json")):
        record = json.loads(path.read_text())
        low, high = record["interval"] or (None, None)
        others = {other: sum(values) / len(values) for other, values in record.get("others", {}).items()}
        row = {"verdict": record["verdict"], "value": record["value"], "low": low, "high": high, "p": record["p"]}
        yield path.stem, row | {"why": record["why"], "others": json.dumps(others)}


if __name__ == "__main__":
    sys.exit(main())
