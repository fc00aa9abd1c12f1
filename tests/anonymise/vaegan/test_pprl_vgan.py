"""Identity swapping: it draws the person asked for on a toy, resumes exactly, refuses bad input."""

import numpy as np
import pytest
import torch

from lib.anonymise.vaegan.pprl_vgan import load_swapping, swap, train_swapping
from tests.anonymise.vaegan.toy import CPU, PEOPLE, Stripes, silent, toy

TINY = {"seed": 2, "steps": 4, "batch": 8, "kernel": 4, "width": 8, "latent": 4, "progress": silent, "device": CPU}


def test_it_draws_the_person_asked_for(tmp_path):
    images, _, people, findings = toy()
    options = {"steps": 120, "batch": 24, "width": 16, "learning_rate": 1e-3}
    model = train_swapping(images, people, findings, path=tmp_path, **(TINY | options))
    asked = (people + 1) % PEOPLE
    drawn = swap(model, images, asked, seed=1, device=CPU)
    with torch.no_grad():
        who = Stripes()(torch.from_numpy(drawn)[:, None] / 127.5 - 1).argmax(dim=1).numpy()
    assert (who == asked).mean() > 0.8


def test_resumed_equals_uninterrupted_and_finished_is_fetched(tmp_path):
    images, _, people, findings = toy(5)

    def kill(done, **losses):
        if done == 2:
            raise KeyboardInterrupt

    whole = train_swapping(images, people, findings, path=tmp_path / "whole", **TINY).state_dict()
    options = TINY | {"progress": kill, "save_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        train_swapping(images, people, findings, path=tmp_path / "killed", **options)
    torch.manual_seed(7)
    train_swapping(images, people, findings, path=tmp_path / "killed", **TINY)
    again = load_swapping(tmp_path / "killed", device=CPU)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.items())
    with pytest.raises(ValueError, match="no identity 4 to turn into"):
        swap(again, images, people + 1, seed=0, device=CPU)
    published = train_swapping(images, people, findings, path=tmp_path / "published", as_published=True, **TINY)
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
        train_swapping(*change(images, people, findings), path=tmp_path, **TINY)
