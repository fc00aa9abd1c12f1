"""One notebook in one process and in two (gloo): the same weights, and one writer."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from lib.cohorts.cohort import Cohort
from lib.runner import torchrun as cells
from tests.paths import ROOT

pytestmark = pytest.mark.slow

PARAMETERS = 'scale = "demo"\ncohort = "phantom"\nseed = 0'
SETUP = """
import json, os, time
from functools import partial
import numpy as np, pandas as pd, torch
from torch import nn
from lib.cohorts.cohort import Cohort
from lib.core import distributed as ranks, seeding
from lib.core.files import atomic
from lib.experiment.run import Run
from lib.training.gan.dcgan import train_dcgan
from lib.training.classifier.single_label import train_classifier
from lib.training.loop.resume import weights_digest
from lib.training.loop.job_pool import run_ahead

run = Run("01_p", scale, cohort, seed)
folder = run.path("01_train/x").parent
if ranks.is_one_of_many():
    real = os.replace
    def noted(partial, path):
        with open(folder / "journal", "a") as file:
            file.write(f"{ranks.rank()} {os.path.relpath(path, folder)}\\n")
        real(partial, path)
    os.replace = noted
rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (20, 16, 16), dtype=np.uint8), np.arange(20) % 2
losses = []
def note(step, **values):
    losses.append([float(value) for value in values.values()])
"""
GANS = """
def gan(name, k, **options):
    options = {"steps": 3, "batch": 5, "width": 4, "progress": note} | options
    return train_dcgan(images, labels, path=run.path(f"01_train/{name}"), seed=k, **options)
gan("instance", 0)
gan("batch", 0, norm="batch", ema=0.9)
with atomic(run.path("01_train/losses.json")) as path:
    path.write_text(json.dumps(losses))
"""
CLASSIFIER = """
def network():
    shape = nn.Conv2d(1, 4, 3, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*shape, nn.Linear(16, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 2))
with seeding.initialising(ranks.rank()):  # every rank another: rank 0's count
    model = network()
train_classifier(
    model, images=images[:15], labels=labels[:15], validation=(images[15:], labels[15:]), epochs=2, batch=6,
    learning_rate=0.05, seed=seed, optimiser="sgd", select="last", checkpoint=run.path("01_train/classifier"),
)
mine = np.full(3, ranks.rank())
time.sleep(0.3 * ranks.rank())  # what rank 1 wrote would stay
run.save("01_train/rank.csv", pd.DataFrame({"rank": mine}))
run.save("01_train/rank.npz", {"rank": mine})
time.sleep(0.3 * (1 - ranks.rank()))  # rank 1 would look for it too early
run.save("01_train/rank.h5", Cohort(images[:3], mine, mine, mine * 0, name="rank", label_names=("no", "yes")))
read = [pd.read_csv(run.need("01_train/rank.csv"))["rank"], np.load(run.need("01_train/rank.npz"))["rank"]]
read += [Cohort.open(run.need("01_train/rank.h5")).patient]
assert all((of == 0).all() for of in read), read
with ranks.no_sync():
    run.save(f"01_train/alone {ranks.rank()}.csv", pd.DataFrame({"rank": mine}))
    (folder / f"digest {ranks.rank()}").write_text(weights_digest(model))
"""
AHEAD = """
def task(k):
    with atomic(run.path(f"01_train/task {k}")) as path:
        path.write_text(f"{ranks.rank()} {ranks.world()}")
    if k == 3:
        raise ValueError("this task fails ahead")
if ranks.is_one_of_many():
    run_ahead([partial(task, k) for k in range(4)])
    losses = [run.need(f"01_train/task {k}").exists() for k in range(4)]
run.untestable("C1", "too small")
"""
FAILS = """
if ranks.is_one_of_many() and ranks.rank() == 1:
    raise ValueError("no light\\nsecond line")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    folder = root / "notebooks" / "01_p"
    folder.mkdir(parents=True)
    claim = {"kind": "own", "says": "a claim", "notebook": "01_train", "value": "a number", "claimed": "> 0"}
    content = {"title": "p", "cite": "", "cohorts": {"phantom": "mass"}, "notebooks": {"01_train": []}}
    (folder / "paper.yaml").write_text(yaml.safe_dump(content | {"claims": {"C1": claim}}))
    sources = [(PARAMETERS, ["parameters"]), *((text, []) for text in (SETUP, GANS, CLASSIFIER, AHEAD, FAILS))]
    made = [{"cell_type": "code", "metadata": {"tags": tags}, "source": text} for text, tags in sources]
    (folder / "01_train.ipynb").write_text(json.dumps({"cells": made, "nbformat": 4, "nbformat_minor": 5}))
    return root


@pytest.fixture(scope="module")
def one(project):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_ROOT", str(project))
        patch.chdir(project)
        code = cells.main(["notebooks/01_p/01_train.ipynb", "-p", "scale", "smoke"])
    assert code == 0
    return project / "data/runs/smoke-phantom/01_p/01_train"


@pytest.fixture(scope="module")
def two(project):
    """The folder of seed 0 at scale demo, by two processes with torchrun's variables, and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"SUITE_ROOT": str(project), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "lib.experiment.run", "notebooks/01_p/01_train.ipynb", "-p", "scale", "demo"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": project}
    started = [
        subprocess.Popen(command, env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, **streams) for rank in (0, 1)
    ]
    said = [process.communicate(timeout=240)[1] for process in started]
    return project / "data/runs/demo-phantom/01_p/01_train", said, [process.returncode for process in started]


@pytest.mark.parametrize("training", ["instance", "batch", "classifier"])
def test_two_ranks_train_as_one(one, two, training):
    """Batches of 5 and 6 rows, and a last one of 3: uneven portions too. Batch statistics are those of all rows."""
    no_sync, shared = (load_file(folder / training / "final.safetensors") for folder in (one, two[0]))
    assert no_sync.keys() == shared.keys()
    for name, value in no_sync.items():
        np.testing.assert_allclose(shared[name], value, atol=1e-5, err_msg=name)


def test_two_ranks_see_the_losses_of_the_whole_batch(one, two):
    no_sync, shared = (json.loads((folder / "losses.json").read_text()) for folder in (one, two[0]))
    assert len(no_sync) == 6
    np.testing.assert_allclose(shared, no_sync, rtol=1e-5)


def test_ranks_end_with_the_same_weights(two):
    assert (two[0] / "digest 0").read_text() == (two[0] / "digest 1").read_text()


def test_every_file_is_written_once_by_the_writer(two):
    lines = (two[0] / "journal").read_text().splitlines()
    written = [line.split(" ", 1) for line in lines]
    assert len(written) == len({path for _, path in written})
    assert {rank for rank, path in written if not path.startswith(("task", "alone"))} == {"0"}
    assert {path for _, path in written} >= {"rank.csv", "rank.npz", "rank.h5", "alone 0.csv", "alone 1.csv"}
    assert list(two[0].rglob("*partial*")) == []
    assert (two[0] / "rank.csv").read_text().split() == ["rank", "0", "0", "0"]
    assert (two[0] / "alone 1.csv").read_text().split() == ["rank", "1", "1", "1"]
    assert (np.load(two[0] / "rank.npz")["rank"] == 0).all()
    assert (Cohort.open(two[0] / "rank.h5").patient == 0).all()


def test_trainings_ahead_are_shared_out(two):
    assert [(two[0] / f"task {k}").read_text() for k in range(4)] == ["0 1", "1 1", "0 1", "1 1"]
    assert "this task fails ahead" in two[1][1]


def test_a_rank_that_fails_ends_all_with_one_sentence(two):
    folder, said, codes = two
    assert codes == [1, 1]
    assert said[0] == ""
    last = said[1].strip().splitlines()[-1]
    assert last.startswith("01_p/01_train, rank 1, cell [6]: ValueError: no light (")
    trace = Path(last.split("(")[1].removesuffix(")")).read_text()
    assert "second line" in trace


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["notebooks/01_p/02_no.ipynb"], "01_p has no notebook '02_no': choose one of 01_train"),
        (["notebooks/07_p/01_train.ipynb"], "unknown paper '07_p': choose one of 01_p"),
        (["01_train"], "01_train is no notebook of the suite: give notebooks/PAPER/NAME.ipynb"),
        (["notebooks/01_p/01_train.ipynb", "-p", "epochs", "3"], "no parameter epochs; its parameters cell sets scale"),
        (["notebooks/01_p/01_train.ipynb", "-p", "scale", "smok"], "unknown scale 'smok': choose one of smoke, demo"),
        (["notebooks/01_p/01_train.ipynb", "-p", "seed", "x"], "seed 'x': give a whole number from 0"),
        (["notebooks/01_p/01_train.ipynb", "--scale", "demo"], "unrecognized arguments: --scale demo"),
    ],
)
def test_a_typing_error_is_one_sentence(project, monkeypatch, capsys, words, says):
    monkeypatch.setenv("SUITE_ROOT", str(project))
    monkeypatch.chdir(project)
    assert cells.main(words) == 2
    errors = capsys.readouterr().err
    assert says in errors
    assert len(errors.strip().splitlines()) == 1
