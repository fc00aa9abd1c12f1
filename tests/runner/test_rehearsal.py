"""`paper --rehearse`: two points make a line, and what cannot run is said with its numbers."""

import json
import os
import subprocess

import pytest
import yaml

from lib.runner.rehearsal import cost, noted_trainings, refusals, trainings_file
from tests.paths import ROOT
from tests.runner.toy import write_notebook


def taken(parts, *, trainings=(), end=0.0):
    """Of a notebook of 10 s and 2 s a part, of 500 MB and 3 MB a part, of 1 MB and 5 MB a part on disk."""
    return {"rest": 10 + 2 * parts, "peak": 500e6 + 3e6 * parts, "end": end, "disk": 1e6 + 5e6 * parts,
            "trainings": list(trainings)}  # fmt: skip


def training(whole, *, name="GAN", by_image=False):
    return {"name": name, "spent": 1.0, "whole": whole, "by_image": by_image}


def test_what_grows_by_the_part_is_found_at_all_parts():
    found = cost("a/b", taken(1), taken(2), parts=400, repetitions=3)
    assert found.rest == pytest.approx(3 * (10 + 2 * 400) / 3600)
    assert found.disk == pytest.approx(3 * (1e6 + 5e6 * 400))
    assert found.memory == pytest.approx(500e6 + 3e6 * 400)  # of one repetition at a time


def test_what_is_held_at_the_end_grows_though_the_peak_was_of_a_training():
    first, second = taken(1, end=100e6), taken(2, end=150e6)
    second["peak"] = first["peak"]
    assert cost("a/b", first, second, parts=11, repetitions=1).memory == pytest.approx(503e6 + 10 * 50e6)


def test_trainings_by_steps_stay_those_by_epochs_grow_and_more_of_them_are_more():
    steps, epochs = training(3600.0), training(10.0, name="classifier", by_image=True)
    walk = training(36.0, name="walk")
    first = taken(1, trainings=[steps, epochs, walk, walk])
    second = taken(2, trainings=[steps, epochs | {"whole": 20.0}, *[walk] * 4])
    found = cost("a/b", first, second, parts=10, repetitions=2)
    # One GAN; one classifier on ten parts, 10 s each; two walks a part.
    assert found.training == pytest.approx(2 * (3600 + 100 + 20 * 36) / 3600)


def test_refuses_by_the_sum():
    rows = [("a/big", 1, 1, 1, 42.0, 1.0), ("a/small", 1, 1, 1, 2.0, 70.0), ("all", 2, 2, 2, 42.0, 71.0)]
    assert refusals(rows, memory=24e9, disk=100e9) == ["Cannot run here: a/big needs 42 GB of memory, and there are 24"]
    assert refusals(rows, memory=64e9, disk=60e9) == ["Cannot run here: all need 71 GB of disk, and 60 are free"]
    assert refusals(rows, memory=64e9, disk=100e9) == []


def test_trainings_of_an_interrupted_rehearsal_count_and_those_of_other_code_go(tmp_path):
    class OfNotebook:
        name, log, sources = "01_train", tmp_path / "log" / "01_train.log", {"lib.x": "a"}

        def record(self, kind):
            return tmp_path / "01_train" / f"{kind}.json"

    (tmp_path / "01_train" / "gan").mkdir(parents=True)
    file, before = trainings_file(OfNotebook())
    assert before == 0
    assert not (tmp_path / "01_train").exists()  # of a time when nothing was noted
    (tmp_path / "01_train" / "gan").mkdir(parents=True)
    file.write_text(json.dumps(training(3600.0)) + "\n")
    file, before = trainings_file(OfNotebook())  # interrupted, and begun again
    assert before == 1
    with file.open("a") as lines:
        lines.write(json.dumps(training(10.0, name="walk")) + "\n")
    assert [(of["name"], of["spent"]) for of in noted_trainings(file, before)] == [("GAN", 0.0), ("walk", 1.0)]
    assert (tmp_path / "01_train" / "gan").exists()
    OfNotebook.sources = {"lib.x": "b"}
    other, before = trainings_file(OfNotebook())
    assert (before, file.exists(), (tmp_path / "01_train").exists()) == (0, False, False)


@pytest.mark.slow
def test_a_rehearsal_of_a_paper_prints_its_table(tmp_path, fork_server):
    folder = tmp_path / "notebooks" / "01_p"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text(
        yaml.safe_dump({
            "title": "P", "cite": "", "cohorts": {"phantom": "mass"}, "notebooks": {"01_train": []},
            "settings": {"images": [1, 1, 1000]}, "rehearsal": {"parts": 100, "cut": {"images": 1}},
        })
    )  # fmt: skip
    source = """
import numpy as np
from lib.experiment.run import Run
from lib.training.loop.rehearsal import Steps
run = Run("01_p", scale, cohort, seed)
print(list(Steps("GAN", 0, 7)))
run.save("01_train/noise.npz", {
    "noise": np.random.default_rng(0).integers(0, 256, (run.settings.images, 10000), np.uint8)})
"""
    write_notebook(folder / "01_train.ipynb", source, parameters='scale = "demo"\ncohort = "phantom"\nseed = 0')
    env = os.environ | {"SUITE_ROOT": str(tmp_path), "SUITE_FORK_SERVER": fork_server}
    made = subprocess.run(
        [ROOT / "run_all.sh", "paper", "--rehearse"], env=env, capture_output=True, text=True, timeout=240
    )
    assert made.returncode == 0, made.stdout + made.stderr
    header, row = (tmp_path / "data" / "runs" / "rehearsal.csv").read_text().splitlines()[:2]
    assert header == 'notebook,"trainings, h","the rest, h","one H100, h","memory, GB","disk, GB"'
    disk = float(row.split(",")[-1])
    assert disk == pytest.approx(1000 * 10000 / 1e9, rel=0.1)  # 10 and 20 images were stored, 1,000 are reckoned
    record = json.loads((tmp_path / "data/runs/rehearsal2-phantom/01_p/01_train/done.json").read_text())
    assert [of["name"] for of in record["trainings"]] == ["GAN"]
    for says in ("01_p/01_train", "Rehearsed in", "H100: not measured"):
        assert says in made.stdout
