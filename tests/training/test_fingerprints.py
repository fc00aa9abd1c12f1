"""The same settings give the same weights as when the fingerprints were taken, or the trainer's `version` was raised.

A few steps of every trainer on fixed data, in float32 with one thread: its losses, and mean and SD of the weights of
each network. After a change that is meant, raise `version` in the trainer and take them anew:

    python -m tests.training.test_fingerprints
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.curve import read_curve
from tests.training.runs import silent
from tests.training.test_trainer_contract import TRAINED

FILE = Path(__file__).with_name("fingerprints.json")
KEPT = json.loads(FILE.read_text()) if FILE.exists() else {}
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # sums round otherwise on another machine, by far less


def fingerprint(name: str, path: Path) -> dict:
    case, threads = TRAINED[name], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        case.train(path, seed=3, progress=silent, **case.settings)
    finally:
        torch.set_num_threads(threads)
    saved = Checkpoint(path, None)
    tensors, networks = saved.load()[0], {}
    for tensor, values in tensors.items():
        if values.isfinite().all():  # the best score of a training that has none yet is infinite
            networks.setdefault(tensor.split(".")[0], []).append(values.double().flatten())
    numbers = {network: torch.cat(of) for network, of in networks.items()}
    curve = read_curve(path)
    return {
        "version": saved.settings["version"],
        "losses": dict(zip(curve.names, curve.values.T.tolist(), strict=True)),
        "weights": {network: [of.mean().item(), of.std(correction=0).item()] for network, of in numbers.items()},
    }


def differences(kept: dict, found: dict) -> list[str]:
    """Which losses and networks differ; all of them where their names do."""
    apart = []
    for part in ("losses", "weights"):
        if kept[part].keys() != found[part].keys():
            return [f"{part}: {', '.join(kept[part])} before, {', '.join(found[part])} now"]
        apart += [
            f"{part} of {name}"
            for name, before in kept[part].items()
            if not np.allclose(before, found[part][name], rtol=RELATIVE, atol=ABSOLUTE)
        ]
    return apart


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_trainer_gives_what_it_gave_or_its_version_was_raised(name, tmp_path):
    found = fingerprint(name, tmp_path)
    assert name in KEPT, "take its fingerprint: python -m tests.training.test_fingerprints"
    apart = differences(KEPT[name], found)
    assert found["version"] == KEPT[name]["version"], "take the fingerprints of its new version"
    assert not apart, f"{name}: {'; '.join(apart)}: raise `version` in its trainer, and take the fingerprints anew"


def test_every_fingerprint_is_of_a_trainer_there_is():
    assert KEPT.keys() == TRAINED.keys()


@pytest.mark.parametrize("change", ["a loss", "a weight", "a network"])
def test_a_difference_is_seen(change):
    kept = {"version": 1, "losses": {"loss_d": [1.0, 0.9]}, "weights": {"generator": [0.0, 0.02]}}
    found = json.loads(json.dumps(kept))
    assert differences(kept, found) == []
    if change == "a loss":
        found["losses"]["loss_d"][1] *= 1.001
    elif change == "a weight":
        found["weights"]["generator"][1] *= 1.01
    else:
        found["weights"]["average"] = [0.0, 0.02]
    assert len(differences(kept, found)) == 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        taken = {name: fingerprint(name, Path(folder) / str(number)) for number, name in enumerate(TRAINED)}
    FILE.write_text(json.dumps(taken, indent=1) + "\n")
