"""PLAN between cases of a file, by the command: images of walks, unlike the patients that steered them."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.anonymise.__main__ import main
from lib.anonymise.case_files import load_known
from lib.anonymise.latent_walk.plan import uniform_divergence
from lib.anonymise.latent_walk.walked_cases import walked_cases
from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import iris
from lib.core.seeding import device
from lib.training.gan import registry
from lib.training.loop.images import network_input

SIZE, POINTS = 32, 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Cases, and the folder with them, both classifiers and a small StyleGAN2."""
    folder = tmp_path_factory.mktemp("walks")
    cases = iris.draw(patients=8, images=6, image_size=SIZE, rng=np.random.default_rng(0))
    cases.save(folder / "cases.h5")
    for task, out in (("identity", "who"), ("finding", "what")):
        assert (
            command(folder, f"known {{0}}/cases.h5 --task {task} --out {{0}}/{out} --epochs 1 --batch 8 --width 8") == 0
        )
    train = cases.subset("train")
    registry.train(
        "stylegan2",
        train.images[:],
        train.labels,
        path=folder / "gan",
        seed=0,
        steps=8,
        batch=8,
        latent=16,
        maps=(16, 128),
    )
    return folder, cases


def command(folder, words: str) -> int:
    return main([word.format(folder) for word in words.split()])


def loaded(folder) -> dict[str, nn.Module]:
    return {name: load_known(folder / of) for name, of in (("identity", "who"), ("finding", "what"))}


def walk(folder, out: str, words: str = "") -> int:
    networks = "--generator {0}/gan --identity {0}/who --finding {0}/what"
    return command(folder, f"walk {{0}}/cases.h5 {networks} --pairs 2 --points {POINTS} --out {{0}}/{out}.h5 {words}")


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["drawn", "patients"])
def test_the_inner_images_of_each_walk_come_out(trained, ends):
    folder, cases = trained
    assert walk(folder, ends, f"--ends {ends} --steps 3") == 0
    made = Cohort.open(folder / f"{ends}.h5")
    assert made.images.shape == (2 * 2 * (POINTS - 2), SIZE, SIZE)
    np.testing.assert_array_equal(made.patient, np.repeat(np.arange(4), POINTS - 2))
    np.testing.assert_array_equal(made.labels, np.repeat([0, 0, 1, 1], POINTS - 2))
    assert made.label_names == cases.label_names
    assert (made.split == 0).all()
    assert walk(folder, ends) == 1  # nothing is replaced


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["drawn", "patients"])
def test_steered_images_are_less_of_any_patient_than_those_of_the_straight_walk(trained, ends):
    folder, cases = trained
    networks = {}
    for name, classes in (("identity", 8), ("finding", 2)):
        torch.manual_seed(0)
        sure = nn.Linear(SIZE**2, classes)
        with torch.no_grad():
            sure.weight.mul_(30)
        networks[name] = nn.Sequential(nn.Flatten(), sure).to(device())
    generator = registry.load(folder / "gan")
    divergence = []
    for rate in (0.0, 0.05):
        made = walked_cases(
            cases, generator=generator, **networks, pairs=2, ends=ends, seed=0, points=POINTS, steps=60,
            lambda_identity=10.0, learning_rate=rate,
        )  # fmt: skip
        images = network_input(torch.from_numpy(made.images[:])[:, None]).to(device())
        with torch.no_grad():
            divergence.append(float(uniform_divergence(networks["identity"](images)).mean()))
    straight, steered = divergence
    assert steered < 0.5 * straight


@pytest.mark.slow
def test_walks_between_patients_begin_beside_their_images_and_the_seed_decides_which(trained):
    folder, cases = trained
    networks = loaded(folder)
    generator = registry.load(folder / "gan")

    def straight(seed, **given):
        return walked_cases(
            cases, generator=generator, **networks, pairs=1, seed=seed, points=42, steps=1, learning_rate=0.0, **given
        ).images[:]

    np.testing.assert_array_equal(straight(0), straight(0))
    assert (straight(0) != straight(1)).any()
    train = cases.subset("train").images[:].astype(float)

    def apart(images):
        """Of the first image, 1/41 of the way from the walk's end, to the nearest training image."""
        return np.square(train - images[0]).mean(axis=(1, 2)).min()

    assert apart(straight(0, ends="patients")) < apart(straight(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--pairs 0", "pairs is 0: give at least 1"),
        ("--pairs 9999 --ends patients", "9999 are asked for"),
        ("--points 2", "points is 2"),
        ("--steps 0", "steps is 0"),
        ("--generator mcgan-phantom", "needs the latent space of a stylegan2, and dcgan has none"),
        ("--generator stylegan2-phantom", "draws images of 64 px, 1 channel and 2 classes, and phantom_iris has 32 px"),
        ("--generator {0}/none", "There is no trained generator"),
        ("--identity {0}/none", "no trained classifier"),
    ],
)
def test_what_cannot_walk_is_one_sentence(trained, capsys, words, says):
    folder, _ = trained
    assert walk(folder, "refused", words) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (folder / "refused.h5").exists()


def test_a_class_of_one_patient_is_named(trained):
    folder, cases = trained
    ill = (cases.split == 0) & (cases.labels == 1)
    rows = (cases.labels == 0) | ill & (cases.patient == cases.patient[ill][0])
    networks = loaded(folder)
    of_one = cases[np.flatnonzero(rows)]
    with pytest.raises(ValueError, match=f"1 training patients of {cases.label_names[1]}"):
        walked_cases(of_one, generator=registry.load(folder / "gan"), **networks, pairs=1, ends="patients", seed=0)
