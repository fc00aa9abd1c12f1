"""The counterfactual decoder: it flips the finding, keeps the background, leaves the rest frozen."""

import numpy as np
import pytest
import torch

from lib.anonymise.vaegan.counterfactual import train_counterfactual
from lib.anonymise.vaegan.pp_vaegan import Weights, anonymise
from tests.anonymise.vaegan.toy import CPU, Disc, toy, train
from tests.training.runs import silent

TINY = {"seed": 4, "steps": 4, "batch": 8, "learning_rate": 1e-3, "finding": Disc(), "progress": silent, "device": CPU}


@pytest.fixture(scope="module")
def factual(tmp_path_factory):
    return train(
        tmp_path_factory.mktemp("factual"), "none", steps=40, batch=24, width=16, learning_rate=3e-3,
        weights=Weights(realism=0, evidence=50),
    )  # fmt: skip


def test_it_flips_the_finding_and_keeps_the_background(tmp_path, factual):
    images, masks, *_ = toy()
    options = TINY | {"steps": 60, "batch": 24, "learning_rate": 3e-3}
    before = {name: value.clone() for name, value in factual.state_dict().items()}
    shares = []
    for weight in (0.1, 30.0):
        decoder = train_counterfactual(
            factual, images, masks, path=tmp_path / str(weight), background_weight=weight, **options
        )
        pair = [anonymise(factual, images, masks, seed=1, decoder=other, device=CPU) for other in (None, decoder)]
        found = [Disc()(torch.from_numpy(part)[:, None] / 127.5 - 1).argmax(dim=1).numpy() for part in pair]
        assert (found[0] != found[1]).mean() > 0.95
        apart = (pair[0].astype(float) - pair[1]) ** 2
        shares.append(apart[masks == 0].mean())
        assert apart[masks == 1].mean() > apart[masks == 0].mean()
    assert shares[1] < shares[0]
    assert all(torch.equal(value, factual.state_dict()[name]) for name, value in before.items())


def test_bad_input_is_one_clear_sentence(tmp_path, factual):
    images, masks, *_ = toy()
    with pytest.raises(ValueError, match="unknown start"):
        train_counterfactual(factual, images, masks, path=tmp_path, **(TINY | {"start": "nothing"}))
    with pytest.raises(ValueError, match="divide 0..255"):
        train_counterfactual(factual, images, 255 * masks, path=tmp_path, **TINY)
    with pytest.raises(ValueError, match="give the model's 16 px"):
        anonymise(factual, np.zeros((1, 32, 32), np.uint8), np.zeros((1, 32, 32)), seed=0, device=CPU)
