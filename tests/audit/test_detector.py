"""Normalisation, symmetries, embedding, registration and the search: what of a copy they see through."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lib.audit.disguises import DECLARED, DISGUISES, HARDER, disguised
from lib.audit.embedding import learn_embedding
from lib.audit.matching import Candidates, matches, open_gallery, search, usual_distance
from lib.audit.normalisation import normalised, without_margins
from lib.audit.registration import Registered, compare, details, edges, register
from lib.audit.symmetries import INVERSE, NAMES, placed
from tests.audit.toy import masses, searched, usual

GEOMETRY = ["margin 5 %", "letterbox 5:6", "cropped to 80 %", "shifted 10 %", "turned 10°", "hidden 10 %"]


def test_every_symmetry_is_undone_by_its_inverse_and_named_rightly():
    image = torch.arange(9).view(3, 3)
    assert len({tuple(placed(image, k).flatten().tolist()) for k in range(8)}) == 8
    for number, back in enumerate(INVERSE):
        assert torch.equal(placed(placed(image, number), back), image)
    named = dict(zip(NAMES, range(8), strict=True))
    turned = torch.from_numpy(np.rot90(image.numpy(), -1).copy())
    assert torch.equal(placed(image, named["turned 90° clockwise"]), turned)
    assert torch.equal(placed(image, named["transposed"]), image.T)
    with pytest.raises(ValueError, match="symmetry is 8: give 0 to 7"):
        placed(image, 8)


def test_ranks_ignore_every_monotone_curve_and_reverse_with_polarity():
    images = np.random.default_rng(0).permutation(2**10).reshape(1, 32, 32) // 5
    plain = normalised(images.astype(np.uint8)).ranks
    curved = normalised(np.rint(255 * (images / 255) ** 2 * 0.5 + images * 0.5).astype(np.uint8)).ranks
    assert (plain - curved).abs().mean() < 0.02
    assert torch.allclose(normalised(255 - images.astype(np.uint8)).ranks, -plain, atol=1e-6)


def test_margins_are_cut_away_and_hidden_patches_weigh_nothing():
    image = np.random.default_rng(0).integers(1, 256, (1, 32, 32)).astype(np.uint8)
    framed = np.pad(image, ((0, 0), (8, 8), (3, 0)))
    np.testing.assert_array_equal(without_margins(framed, 32)[:, 2:-2, 2:-2].shape, (1, 28, 28))
    apart = np.abs(without_margins(framed, 32).astype(int) - image)
    assert np.median(apart) < 60  # a row of the margin is left at its edge, since one of its neighbours varies
    patched = image.copy()
    patched[:, 8:20, 8:20] = 90
    weight = normalised(patched).weight[0]
    assert weight[10:18, 10:18].max() == 0
    assert weight[:8].min() == 1


def test_saturation_is_no_hidden_patch():
    ramp = np.abs(np.arange(64)[:, None] - 32) + np.abs(np.arange(64)[None] - 32)
    saturated = np.clip(6 * ramp.astype(int) - 100, 0, 200).astype(np.uint8)[None]
    assert normalised(saturated).weight.min() == 1


def test_a_known_map_is_found():
    """A copy cropped to 90 % at a known place: the map takes the corners of the crop to those of the query."""
    image = masses()[:1]
    crop = disguised(image, "cropped to 90 %", rng=np.random.default_rng(0))
    of, real = edges(normalised(crop)), edges(normalised(image))
    similarity, maps, is_negative = register(of, real[None])
    assert similarity[0] > 0.9
    assert not is_negative[0]
    np.testing.assert_allclose(maps[0, :, :2], np.eye(2) / 0.9, atol=0.06)
    negative = register(edges(normalised(255 - crop)), real[None])
    assert bool(negative.is_negative[0])
    assert negative.similarity[0] == pytest.approx(float(similarity[0]), abs=1e-4)


def test_the_comparison_is_the_literal_weighted_correlation():
    """Maps of whole pixels, so that the literal version is a slice: 2 to the right, and the other way as a negative."""
    rng, side = np.random.default_rng(0), 16
    query, real = (rng.normal(size=(1, side, side)).astype(np.float32) for _ in range(2))
    weights = rng.uniform(0.6, 1, (2, side, side)).astype(np.float32)
    literal = []
    for shift, sign in ((2, 1), (-3, -1)):
        lay = slice(max(shift, 0), side + min(shift, 0)), slice(max(-shift, 0), side + min(-shift, 0))
        one, other = query[0][:, lay[0]], real[0][:, lay[1]]
        weight = weights[0][:, lay[0]] * weights[1][:, lay[1]]
        one, other = one - np.average(one, weights=weight), other - np.average(other, weights=weight)
        length = np.sqrt((weight * one**2).sum() * (weight * other**2).sum())
        literal.append(sign * (weight * one * other).sum() / length)
    maps = torch.tensor([[[1, 0, 2 * shift / side], [0, 1, 0]] for shift in (2, -3)], dtype=torch.float32)
    none = np.array([[-1.0, 1.0] * (side**2 // 2)], np.float32).reshape(1, side, side)  # ranks of no saturated image
    none[none == -1] += np.linspace(0, 1.9, side**2 // 2, dtype=np.float32)
    none[none == 1] -= np.linspace(0, 0.05, side**2 // 2, dtype=np.float32)
    first, second = (
        torch.from_numpy(np.stack([of, w[None], none], axis=1)) for of, w in ((query, weights[0]), (real, weights[1]))
    )
    second, is_negative = second[None].repeat(1, 2, 1, 1, 1), torch.tensor([False, True])
    found = compare(first, second, Registered(torch.ones(2), maps, is_negative))
    np.testing.assert_allclose(found, literal, atol=1e-5)
    beyond = maps + torch.tensor([[0, 0, 1.6], [0, 0, 0]])
    assert compare(first, second, Registered(torch.ones(2), beyond, is_negative)).tolist()[0] == -1


@pytest.mark.parametrize("disguise", ["windowed 20–80 %", "windowed 40–60 %", "negative"])
def test_an_image_behind_a_narrow_window_equals_its_source_seen_through_the_same(disguise):
    rng = np.random.default_rng(0)
    images = np.stack([ndimage.gaussian_filter(rng.normal(size=(64, 64)), 4) for _ in range(2)])
    images = np.uint8(255 * (images - images.min()) / np.ptp(images))
    changed = disguised(images, disguise, rng=rng)
    is_negative = torch.full((4,), disguise == "negative")
    as_it_is = Registered(torch.ones(4), torch.eye(2, 3).repeat(4, 1, 1), is_negative)
    query, real = (details(normalised(of, 64)) for of in (changed, images))
    alike = compare(query, real[None].repeat(2, 1, 1, 1, 1), as_it_is).view(2, 2)
    assert alike.diag().min() > 0.97
    assert alike.fliplr().diag().max() < 0.5
    if disguise == "windowed 40–60 %":
        both = compare(torch.cat([query[:, :2], real[:, 2:]], 1), real[None].repeat(2, 1, 1, 1, 1), as_it_is)
        without = both.view(2, 2).diag()  # by ranks of no saturated image, which show no window
        assert (alike.diag() - without).min() > 0.05


def test_images_that_differ_in_detail_alone_are_told_apart():
    """Forty images of one anatomy that are equal when averaged to 32 pixels: at 64 a noisy copy has a single source."""
    rng = np.random.default_rng(0)
    anatomy = np.kron(rng.normal(size=(8, 8)), np.ones((8, 8)))
    detail = np.kron(rng.choice([-1, 1], (40, 32, 32)), np.array([[1, 1], [-1, -1]]))
    images = np.clip(128 + 20 * anatomy + 40 * detail, 0, 255).astype(np.uint8)
    code = np.arange(len(images))
    gallery = open_gallery(images, code, views=4, rng=np.random.default_rng(1))
    real = search(gallery, images, own=code)
    apart = usual_distance(real, code)
    null = matches(real, code, own=code, usual=apart)
    found = matches(search(gallery, disguised(images[:10], "noisy", rng=rng)), code, usual=apart)
    assert found.nearest.tolist() == list(range(10))
    assert found.ratio.max() < 0.8 * null.ratio.min()


def test_the_embedding_tells_images_from_disguises_of_others():
    images = masses()
    embedding = learn_embedding(images, views=6, rng=np.random.default_rng(0))
    known = embedding.of(normalised(images).ranks)
    assert torch.allclose(known.norm(dim=1), torch.ones(len(known)), atol=1e-5)
    changed = disguised(images, "cropped to 90 %", rng=np.random.default_rng(1))
    alike = embedding.of(normalised(changed).ranks) @ known.T
    assert (alike.argmax(dim=1) == torch.arange(len(images))).float().mean() > 0.8
    with pytest.raises(ValueError, match="1 images in 6 views"):
        learn_embedding(images[:1], views=6, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", [*DECLARED, *GEOMETRY])
def test_the_source_of_a_disguised_copy_is_named_and_closer_than_anything_else(name):
    gallery, real = searched()
    null = matches(real, gallery.patient, own=gallery.patient, usual=usual()).ratio
    found = matches(
        search(gallery, disguised(masses()[:8], name, rng=np.random.default_rng(2))), gallery.patient, usual=usual()
    )
    assert (found.nearest == np.arange(8)).sum() >= 7
    assert np.median(found.ratio) < np.median(null) - 0.2


def test_a_copy_in_another_symmetry_says_which():
    gallery, _ = searched()
    turned = np.rot90(masses()[:4], 1, (1, 2)).copy()
    found = matches(search(gallery, turned), gallery.patient, usual=usual())
    assert [NAMES[k] for k in found.mirror] == ["turned 90° clockwise"] * 4
    assert found.ratio.max() < 0.05


def test_the_ratio_is_the_literal_one_and_leaves_out_the_own_patient():
    row = np.array([[0, 1, 2], [3, 4, 0]])
    similarity = np.array([[0.9, 0.8, 0.5], [0.7, 0.6, 0.2]], np.float32)
    empty = np.zeros(row.shape, int)
    found = Candidates(row, similarity, empty, np.zeros((2, 3, 2, 3)), empty > 0)
    patient = np.array([0, 0, 1, 2, 2])
    plain = matches(found, patient, usual=np.inf)
    assert plain.nearest.tolist() == [0, 3]
    assert plain.ratio == pytest.approx([(0.1 / 0.5) ** 0.5, (0.3 / 0.8) ** 0.5], abs=1e-5)
    apart = matches(found, patient, own=np.array([0, 2]), usual=np.inf)
    assert apart.nearest.tolist() == [2, 0]
    assert apart.ratio.tolist() == [1, 1]  # candidates of one patient alone are no outliers
    nearer = matches(found, patient, usual=0.8)
    assert nearer.ratio == pytest.approx([(0.1 / 0.5) ** 0.5, 0.3**0.5 / 0.8], abs=1e-5)
    assert matches(found, patient, usual=0.4).ratio.tolist() == pytest.approx([0.1**0.5 / 0.4, 1])
    fewer = found.within(np.array([1, 2, 3, 4]))
    assert fewer.row[0].tolist() == [0, 0, 1]
    assert fewer.similarity[0].tolist() == pytest.approx([-1, 0.8, 0.5])
    assert found.within(np.array([2, 0])).row[0].tolist() == [1, 0, 0]  # in the order that is asked for


def test_the_usual_distance_is_that_of_three_of_four_to_a_second_patient():
    row = np.tile([1, 2, 3], (8, 1))
    similarity = np.array([[0.9, s, 0.1] for s in np.linspace(0.2, 0.9, 8)], np.float32)
    found = Candidates(row, similarity, np.zeros(row.shape, int), np.zeros((8, 3, 2, 3)), np.zeros(row.shape, bool))
    patient = np.array([10, 11, 12, 13, 14, 15, 16, 17])
    alone = found._replace(row=np.ones_like(row))
    literal = np.quantile(np.sqrt(1 - np.array(_second_patient(row, similarity, patient))), 0.75)
    assert usual_distance(found, patient) == pytest.approx(literal, abs=1e-5)
    assert usual_distance(alone, patient) == np.inf


def _second_patient(row, similarity, patient):
    second = []
    for k in range(len(row)):
        by_patient = {}
        for at, value in zip(row[k], similarity[k], strict=True):
            if patient[at] != patient[k]:
                by_patient[patient[at]] = max(by_patient.get(patient[at], -1), value)
        if len(by_patient) > 1:
            second.append(sorted(by_patient.values())[-2])
    return second


def test_disguises_change_what_they_say_and_keep_the_form():
    images = masses()[:6]
    for name in DISGUISES:
        changed = disguised(images, name, rng=np.random.default_rng(0))
        assert changed.dtype == np.uint8
        assert changed.shape == images.shape
        assert (changed != images).any(axis=(1, 2)).all(), name
    np.testing.assert_array_equal(disguised(images, "negative", rng=np.random.default_rng(0)), 255 - images)
    crop = disguised(images, "cropped to 70 %", rng=np.random.default_rng(0))
    assert abs(crop[:, 16, 16].astype(int) - images[:, 16, 16]).max() < 30
    hidden = disguised(images, "hidden 25 %", rng=np.random.default_rng(0))
    assert ((hidden == 0).sum(axis=(1, 2)) >= 16**2).all()
    assert not set(DECLARED) & set(HARDER)
    with pytest.raises(ValueError, match="unknown disguise 'dyed'"):
        disguised(images, "dyed", rng=np.random.default_rng(0))
