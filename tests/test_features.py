"""Named extractors and named classifiers: what they give, and what they refuse."""

import numpy as np
import pytest
import torch

from lib import features
from lib.metrics.fidelity.radiomics import RADIOMICS_FEATURES
from lib.models.classifiers.factory import classifier

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 32, 32), dtype=np.uint8)


def test_each_extractor_gives_its_features():
    assert features.extract("radiomics", IMAGES[:3]).shape == (3, len(RADIOMICS_FEATURES))
    first = features.extract("radiomics_first_order", IMAGES[:3])
    named = [i for i, name in enumerate(RADIOMICS_FEATURES) if name.startswith("firstorder")]
    np.testing.assert_array_equal(first, features.extract("radiomics", IMAGES[:3])[:, named])
    pixels = features.extract("pixels", IMAGES)
    np.testing.assert_allclose(pixels[5].reshape(32, 32) * 255, IMAGES[5], rtol=1e-6)


def test_a_classifier_sees_what_it_was_trained_on_in_any_batch():
    model = classifier("small_cnn", seed=1)
    with torch.no_grad():
        inputs = torch.from_numpy(IMAGES)[:, None].float() / 127.5 - 1
        expected = model.features(inputs).numpy()
    np.testing.assert_allclose(features.extract(model, IMAGES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("extractor", [*features.EXTRACTORS, classifier("small_cnn", seed=1)])
def test_what_would_be_misread_is_refused(extractor):
    for images in (IMAGES / 255, IMAGES.astype(np.uint16), IMAGES > 100):
        with pytest.raises(ValueError, match=f"images are {images.dtype}, whose range is not known"):
            features.extract(extractor, images)
    colour = np.stack([IMAGES[:3]] * 3, axis=-1)
    if extractor != "pixels":  # of any shape, as they are
        with pytest.raises(ValueError, match="turn colour to grey"):
            features.extract(extractor, colour)


def test_pixels_of_several_slices_are_all_values():
    units = IMAGES[:6].reshape(2, 3, 32, 32)
    np.testing.assert_array_equal(features.extract("pixels", units)[1], features.extract("pixels", IMAGES[3:6]).ravel())


def test_unknown_names_raise_and_missing_weights_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    with pytest.raises(ValueError, match="unknown extractor 'resnet': choose one of pixels"):
        features.extract("resnet", IMAGES)
    with pytest.raises(FileNotFoundError, match="pt_inception"):
        features.extract("inception", IMAGES[:1])
    with pytest.raises(ValueError, match="unknown classifier 'vgg'"):
        classifier("vgg", seed=0)
    with pytest.raises(ValueError, match="unknown variant"):
        classifier("small_cnn", variant="frozen_two_layer", seed=0)
    with pytest.raises(FileNotFoundError, match="swin_t-704ceda3"):
        classifier("swin", seed=0)


def test_a_classifier_starts_from_its_seed_or_from_another_one():
    first, again, other = (classifier("small_cnn", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    start = classifier("small_cnn", seed=2)
    warm = classifier("small_cnn", variant="frozen_linear", seed=1, start=start)
    assert all(torch.equal(warm.state_dict()[name], other[name]) for name in other)
    assert [name for name, p in warm.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
