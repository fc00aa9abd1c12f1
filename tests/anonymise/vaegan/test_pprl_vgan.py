"""Identity swapping: it draws the person asked for on a toy, refuses bad input."""

import numpy as np
import pytest
import torch

from lib.anonymise.vaegan.pprl_vgan import swap, train_pprl_vgan
from tests.anonymise.vaegan.toy import CPU, PEOPLE, Stripes, toy
from tests.training.runs import silent

TINY = {"seed": 2, "steps": 4, "batch": 8, "kernel": 4, "width": 8, "latent": 4, "progress": silent, "device": CPU}


@pytest.mark.slow
def test_it_draws_the_person_asked_for(tmp_path):
    images, _, people, findings = toy()
    options = {"steps": 120, "batch": 24, "width": 16, "learning_rate": 1e-3}
    model = train_pprl_vgan(images, people, findings, path=tmp_path, **(TINY | options))
    asked = (people + 1) % PEOPLE
    drawn = swap(model, images, asked, seed=1, device=CPU)
    with torch.no_grad():
        who = Stripes()(torch.from_numpy(drawn)[:, None] / 127.5 - 1).argmax(dim=1).numpy()
    assert (who == asked).mean() > 0.8
    with pytest.raises(ValueError, match="no identity 4 to turn into"):
        swap(model, images, people + 1, seed=0, device=CPU)


def test_as_published_reaches_the_encoder(tmp_path):
    images, _, people, findings = toy(5)
    published = train_pprl_vgan(images, people, findings, path=tmp_path, as_published=True, **TINY)
    assert published.encoder.as_published


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, who, what: (np.stack([x] * 3, axis=1), who, what), "3 channels"),
        (lambda x, who, what: (x, np.where(who == 1, 2, who), what), r"Identities \[1\] have no training image"),
        (lambda x, who, what: (x, who, what + 1), r"Findings \[0\] have no training image"),
        (lambda x, who, what: (x[:5], who[:5], what[:5]), "batch is 8 of 5"),
    ],
)
def test_bad_input_is_one_clear_sentence(tmp_path, change, message):
    images, _, people, findings = toy()
    with pytest.raises(ValueError, match=message):
        train_pprl_vgan(*change(images, people, findings), path=tmp_path, **TINY)
