"""MCGAN from a file that is laid out as the published one: `sample` draws the pixels of the literal network."""

import numpy as np
import pytest
import torch

from lib.core.seeding import torch_generator
from lib.models.pretrained.mcgan import WEIGHTS
from lib.training.gan.published import published_mcgan
from lib.training.gan.sampling import TrainedGenerator
from tests.models.pretrained.test_mcgan import literal

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / WEIGHTS
    torch.save({"generator": literal().state_dict()}, path)
    yield published_mcgan(path, device=CPU)
    path.unlink()


def test_it_is_found_in_data_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"data/weights/.*doi\.org/10\.5281/zenodo\.6647349"):
        published_mcgan()
    path = tmp_path / "data" / "weights" / WEIGHTS
    path.parent.mkdir(parents=True)
    torch.save({"generator": literal().state_dict()}, path)
    assert isinstance(published_mcgan(device=CPU), TrainedGenerator)
    path.unlink()


def test_pixels_are_those_of_the_literal_network_and_below_black_they_are_black(generator):
    """The published code casts to uint8, so that what is just below black is nearly white there."""
    labels = np.array([0, 1, 1, 0, 1])
    made = generator.sample(5, labels=labels, seed=3, batch=2)
    assert made.shape == (5, 128, 128)
    assert made.dtype == np.uint8
    with torch.inference_mode():
        noise = torch.randn(5, 100, generator=torch_generator(3, "generate"))
        tanh = literal()(noise, torch.from_numpy(labels))[:, 0].double().numpy()
    apart = np.abs(made - np.clip(np.round(255 * tanh), 0, 255))
    assert apart.max() <= 1  # a half rounds up or down by the order of sums
    assert (apart > 0).mean() < 1e-3
    published = (255 * tanh).astype(int) % 256
    assert np.abs(made.astype(int) - published)[tanh >= 0].max() <= 1
    below = (255 * tanh <= -1) & (tanh > -0.2)
    assert below.mean() > 0.1
    assert made[below].max() == 0
    assert published[below].min() > 200


def test_the_seed_decides_the_noise_and_the_label_the_class(generator):
    one, again = (generator.sample(2, labels=[0, 1], seed=5) for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, generator.sample(2, labels=[1, 0], seed=5))
    assert not np.array_equal(one, generator.sample(2, labels=[0, 1], seed=6))


@pytest.mark.parametrize("labels", [None, [0, 2], [0, 1, 1], [0.0, 1.0]])
def test_other_labels_are_refused(generator, labels):
    with pytest.raises(ValueError, match=r"2 integers in 0\.\.1"):
        generator.sample(2, labels=labels, seed=0)


def test_settings_say_where_it_comes_from(generator):
    assert generator.settings["origin"] == "doi:10.5281/zenodo.6647349"
    assert (generator.settings["norm"], generator.settings["image_size"]) == ("batch", 128)
