"""Federated training as Flower's server and client processes: the weights of the simulation, and clear failures."""

import importlib.util
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from lib.cohorts.cohort import Cohort
from lib.training.gan.fedgan import begin, resolved, train_fedgan
from lib.training.gan.fedgan_flower import _agreed, _arrays, _state, labels_of, main
from lib.training.loop.checkpoint import Checkpoint
from tests.paths import ROOT

HAS_FLOWER = importlib.util.find_spec("flwr") is not None


def _cohort(n, seed, **facts):
    """Radiographs of 32 px, of which every third is not for training."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 32, 32), dtype=np.uint8)
    findings = rng.integers(0, 2, (n, 2))
    facts = {"name": "drawn", "label_names": ("effusion", "mass")} | facts
    return Cohort(images, np.arange(n), findings, 2 * (np.arange(n) % 3 == 0), **facts)


def _free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _start(*arguments):
    command = [sys.executable, "-m", "lib.training.gan.fedgan_flower", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


@pytest.mark.skipif(not HAS_FLOWER, reason='Flower is not installed: pip install -e ".[federated]" installs it')
def test_processes_give_the_weights_of_the_simulation(tmp_path):
    address, cohorts = _free_address(), [_cohort(9, seed=1), _cohort(5, seed=2)]
    options = {"seed": 7, "rounds": 2, "clients_per_round": 2, "steps": 2, "critic_steps": 2, "batch": 4, "width": 4}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    processes = [_start("server", "--clients=2", f"--path={tmp_path}/flower", f"--address={address}", *flags)]
    for number, cohort in enumerate(cohorts):
        file = cohort.save(tmp_path / f"{number}.h5")
        rest = ["--image-size=16", "--label=mass", "--label=No Finding", "--wait=60"]
        processes.append(_start("client", f"--number={number}", f"--cohort={file}", f"--address={address}", *rest))
    try:
        said = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0], said
    parts = [cohort.subset("train").resized(16) for cohort in cohorts]
    images, labels = zip(*((part.images[:], labels_of(part, ["mass", "No Finding"])) for part in parts), strict=True)
    clients = np.split(np.arange(sum(map(len, parts))), [len(parts[0])])
    train_fedgan(
        np.concatenate(images), np.concatenate(labels), clients=clients, path=tmp_path / "simulated",
        progress=lambda done, **_: None, device=torch.device("cpu"), **options,
    )  # fmt: skip
    deployed, simulated = (Checkpoint(tmp_path / name, None).load()[0] for name in ("flower", "simulated"))
    assert deployed.keys() == simulated.keys()
    for key, value in simulated.items():
        torch.testing.assert_close(deployed[key], value, rtol=1e-5, atol=1e-7)


def test_without_flower_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "flwr", None)
    assert main(["server", f"--path={tmp_path}", "--clients=2", "--rounds=1"]) == 1
    assert 'pip install -e ".[federated]"' in capsys.readouterr().err
    _cohort(6, seed=0).save(tmp_path / "a.h5")
    assert main(["client", "--number=0", f"--cohort={tmp_path}/a.h5", "--label=nodule"]) == 1
    assert "no label 'nodule', but No Finding, effusion, mass" in capsys.readouterr().err
    assert main(["client", "--number=0", f"--cohort={tmp_path}/b.h5"]) == 1
    assert "no such cohort" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["server", "--clients=0", "--rounds=1"], "error: clients is 0: a federation needs one at least."),
        (["server", "--clients=2", "--rounds=-1"], "error: rounds is -1: a federated GAN needs one at least."),
        (
            ["server", "--clients=2", "--rounds=1", "--batch=0"],
            "error: batch is 0: a federated GAN needs one at least.",
        ),
        (["client", "--number=-3"], "error: number is -3: clients are numbered 0, 1, … one each."),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_connects(tmp_path, monkeypatch, capsys, flags, sentence):
    monkeypatch.setitem(sys.modules, "flwr", None)  # whatever reaches Flower fails by another sentence
    files = (
        [f"--path={tmp_path}"] if flags[0] == "server" else [f"--cohort={_cohort(6, seed=0).save(tmp_path / 'a.h5')}"]
    )
    assert main([*flags, *files]) == 1
    assert capsys.readouterr().err == sentence + "\n"


def test_labels_by_name():
    cohort = _cohort(12, seed=0)
    table = labels_of(cohort, ["No Finding", "mass"])
    assert np.array_equal(table[:, 0], cohort.labels.sum(1) == 0)
    assert np.array_equal(table[:, 1], cohort.labels[:, 1])
    assert np.array_equal(labels_of(cohort), cohort.labels)
    classes = Cohort(
        cohort.images, cohort.patient, cohort.labels[:, 0], cohort.split, name="classes", label_names=("a", "b")
    )
    assert np.array_equal(labels_of(classes), np.eye(2)[cohort.labels[:, 0]])


def test_clients_that_do_not_agree_are_refused():
    def client(number, size=16):
        return {"number": number, "radiographs": 5 + number, "image_size": size, "labels": 1}

    settings, sizes = _agreed([client(1), client(0)], 2, seed=0, rounds=1)
    assert (settings["image_size"], settings["clients"], sizes) == (16, 2, [5, 6])
    with pytest.raises(ValueError, match=r"call themselves \[0, 0\]: each of 0 to 1"):
        _agreed([client(0), client(0)], 2, seed=0, rounds=1)
    with pytest.raises(ValueError, match=r"\[\(16, 1\), \(32, 1\)\]: give all the same"):
        _agreed([client(0), client(1, size=32)], 2, seed=0, rounds=1)


def test_weights_that_do_not_fit_are_refused():
    weights = begin(resolved(shape=(16, 1), clients=1, seed=0, rounds=1, width=4, latent=16), "cpu").state_dict()
    arrays = _arrays(weights)
    again = _state(weights, arrays, 0)
    assert all(torch.equal(again[key], value) for key, value in weights.items())
    for wrong in (arrays[1:], [arrays[0].T, *arrays[1:]], [arrays[0] * np.nan, *arrays[1:]]):
        with pytest.raises(ValueError, match="weights from client 3 do not fit"):
            _state(weights, wrong, "client 3")
