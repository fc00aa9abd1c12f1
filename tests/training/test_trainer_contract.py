"""What holds for every trainer: exact resuming, a training for each setting, refused files, samples of any batch.

A method is one line of `TRAINED` here, a generator too. Where there is a GPU all of it runs there as well.
"""

import json
import os
import shutil
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from lib import generators
from lib.anonymise.vaegan.counterfactual import load_counterfactual, train_counterfactual
from lib.anonymise.vaegan.pp_vaegan import DEFECTS, Weights, anonymise, load_pp_vaegan, train_pp_vaegan
from lib.anonymise.vaegan.pprl_vgan import swap, train_pprl_vgan
from lib.core import lock, seeding
from lib.models.classifiers.identity import ConvClassifier
from lib.models.gan.vaegan import VAE
from lib.training.classifier.siamese import embed, load_embedding, train_siamese
from lib.training.gan import registry
from lib.training.gan.cyclegan import load_translators, train_cyclegan, translate
from lib.training.gan.dcgan import DCGAN, train_dcgan
from lib.training.loop import store
from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.curve import read_curve
from tests.training.runs import TOLERANCE, assert_equal, interrupt, never, resume, silent, tensors

CPU = torch.device("cpu")
PEOPLE = 3
rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (11, 16, 16), dtype=np.uint8)
VOLUMES = rng.integers(0, 256, (11, 3, 16, 16), dtype=np.uint8)
MASKS = np.zeros(IMAGES.shape, np.uint8)
MASKS[:, 5:13, 5:13] = 1
CLASSES, REGIONS, WHO = np.arange(11) % 2, np.arange(11) % 3, np.arange(11) % PEOPLE
FINDINGS = np.stack([CLASSES, REGIONS == 0], axis=1)
VAE_SHAPE = {"kernel": 4, "width": 8, "latent": 4}
STYLE = {"latent": 8, "maps": (8, 64)}
BF16 = 0.1  # of the largest loss: after three updates of tiny networks; a bf16 number has 8 bits


@lru_cache
def classifiers() -> dict[str, nn.Module]:
    """Of the finding and of the person; with dropout and batch statistics."""
    with seeding.initialising(0):
        return {"finding": ConvClassifier(16, 2, width=4), "identity": ConvClassifier(16, PEOPLE, width=4)}


def train_generator(name, images, labels, path, *, device=CPU, **options):
    return generators.train(name, images, labels, path=path, device=device, **options)


def generator(name: str, images, labels=None, **settings) -> partial:
    """How that generator is trained, as a function of the path and what differs from `settings`."""
    return partial(train_generator, name, images, labels, **settings)


def cyclegan(path, *, device=CPU, **options):
    return train_cyclegan(255 - IMAGES[:6], IMAGES, path=path, device=device, **options)


def pp_vaegan(path, *, device=CPU, **options):
    given = classifiers() if options["privacy"] != "none" else {"finding": classifiers()["finding"]}
    return train_pp_vaegan(IMAGES, MASKS, WHO, path=path, device=device, **(given | VAE_SHAPE | options))


def pprl_vgan(path, *, device=CPU, **options):
    return train_pprl_vgan(IMAGES, WHO, CLASSES, path=path, device=device, **(VAE_SHAPE | options))


def counterfactual(path, *, device=CPU, **options):
    with seeding.initialising(0):
        model = VAE(16, **VAE_SHAPE)
    finding = classifiers()["finding"]
    return train_counterfactual(model, IMAGES, MASKS, finding=finding, path=path, device=device, **options)


def siamese(path, *, device=CPU, **options):
    return train_siamese(IMAGES, WHO, path=path, device=device, width=4, dimensions=8, **options)


class Case(NamedTuple):
    train: Callable
    settings: dict
    killed: int = 2  # after this step


VALIDATION = {"validation": (IMAGES[:4], MASKS[:4]), "validate_every": 1}
# As published wherever that is another path through the code; every trainer at least once.
TRAINED = {
    "dcgan": Case(generator("dcgan", IMAGES, CLASSES, width=4, ema=0.9), {"steps": 4, "batch": 4}),
    "dcgan, as published": Case(
        generator("dcgan", IMAGES, CLASSES, width=4, norm="batch", as_published=True, augment=False),
        {"steps": 4, "batch": 4},
    ),
    "acgan": Case(generator("acgan", VOLUMES, REGIONS, width=4, augment=True), {"steps": 3, "batch": 4}),
    "acgan, as published": Case(
        generator("acgan", VOLUMES, REGIONS, width=4, as_published=True, d_steps=2, generator_batch_norm=True,
                  discriminator_batch_norm=True), {"steps": 3, "batch": 4},
    ),
    "acgan, average": Case(generator("acgan", VOLUMES, REGIONS, width=4, ema=0.9), {"steps": 3, "batch": 4}),
    "progan": Case(
        generator("progan", IMAGES[:, ::2, ::2], FINDINGS, latent=6, maps=(6, 24), level_kimg=0.008, fade_kimg=0.012),
        {"total_kimg": 0.048, "batch": 4}, killed=6,  # while the level of 8 px fades in
    ),
    "stylegan2": Case(
        generator("stylegan2", IMAGES, CLASSES, augment_p=0.3, ada_kimg=0.1, **STYLE), {"steps": 4, "batch": 4}
    ),
    "stylegan2, no path length": Case(
        generator("stylegan2", VOLUMES, CLASSES, path_weight=0, r1_every=2, **STYLE), {"steps": 3, "batch": 4}
    ),
    "autodecoder": Case(generator("autodecoder", IMAGES, **STYLE), {"steps": 3, "batch": 4}),
    "fedgan": Case(
        generator("fedgan", IMAGES, FINDINGS, clients=[np.arange(3), np.arange(3, 11)], keep=[1], steps=1,
                  critic_steps=1, width=4, latent=8, clients_per_round=2), {"rounds": 3, "batch": 4},
    ),
    "dpgan": Case(
        generator("dpgan", IMAGES, noise_multiplier=1.0, sample_rate=0.5, expected_batch=5.0, generator_width=4,
                  discriminator_width=4, latent=8, generator_batch=8), {"steps": 3},
    ),
    "cyclegan": Case(cyclegan, {"steps": 4, "batch": 2, "width": 4, "blocks": 1, "critic_width": 4, "critic_depth": 1,
                                "pool": 3, "load_size": 18}),
    "pp_vaegan": Case(pp_vaegan, {"steps": 3, "batch": 4, "privacy": "posterior"}),
    "pp_vaegan, as published": Case(
        pp_vaegan, {"steps": 3, "batch": 4, "privacy": "distance", "as_published": DEFECTS} | VALIDATION
    ),
    "pp_vaegan, no critic": Case(
        pp_vaegan, {"steps": 3, "batch": 4, "privacy": "none", "weights": Weights(realism=0)} | VALIDATION
    ),
    "pprl_vgan": Case(pprl_vgan, {"steps": 3, "batch": 4}),
    "counterfactual": Case(counterfactual, {"steps": 3, "batch": 4}),
    "counterfactual, from random": Case(
        counterfactual, {"steps": 3, "batch": 4, "start": "random", "summed": True}
    ),
    "siamese": Case(siamese, {"steps": 3, "batch": 4}),
}  # fmt: skip
PROBED = [name for name in TRAINED if name.split(",")[0] in generators.names()]
GENERATORS = [name for name in generators.names() if name in TRAINED]
SHOWN, LABELS = ({name: TRAINED[name].train.args[i] for name in GENERATORS} for i in (1, 2))  # images; labels or None
# How images are drawn from what was trained, `batch` at a time.
DRAWN = {
    "cyclegan": lambda trained, **how: translate(trained[0], IMAGES, **how),
    "pp_vaegan": lambda trained, **how: anonymise(trained, IMAGES, MASKS, seed=5, **how),
    "pprl_vgan": lambda trained, **how: swap(trained, IMAGES, (WHO + 1) % PEOPLE, seed=5, **how),
    "siamese": lambda trained, **how: 100 * embed(trained, IMAGES, **how),
} | {
    name: lambda trained, batch, device, name=name: trained.sample(11, labels=LABELS[name], seed=5, batch=batch)
    for name in GENERATORS
}
LOADED = dict.fromkeys(GENERATORS, generators.load) | {
    "cyclegan": load_translators, "pp_vaegan": load_pp_vaegan, "counterfactual": load_counterfactual,
    "siamese": load_embedding,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, device):
    """The folder of each method's uninterrupted training, and what it gave, trained once."""

    @lru_cache
    def trained(name):
        path = tmp_path_factory.mktemp("whole") / "training"
        case = TRAINED[name]
        return path, case.train(path, seed=3, progress=silent, device=device, **case.settings)

    return trained


def test_every_registered_generator_is_held_to_the_contract():
    assert set(generators.names()) <= TRAINED.keys()


@pytest.mark.parametrize("name", TRAINED)
def test_resumed_equals_uninterrupted(name, whole, tmp_path, device):
    """Killed after a step and resumed in another process's shoes: every tensor, bit for bit."""
    case = TRAINED[name]
    train = partial(case.train, tmp_path, seed=3, device=device, **case.settings)
    interrupt(partial(train, save_seconds=0), case.killed)
    assert Checkpoint(tmp_path, None).load()[2] == case.killed
    _, done = resume(train)
    assert done == [*range(case.killed + 1, done[-1] + 1)]
    assert_equal(tensors(whole(name)[0]), tensors(tmp_path), on=device.type)
    kept = ["checkpoint.json", "curve.csv", "final.safetensors"]
    kept += ["images.json", "probe.json"] if name in PROBED else []
    assert sorted(file.name for file in tmp_path.iterdir()) == kept
    kept, expected = read_curve(tmp_path), read_curve(whole(name)[0])
    assert kept.names == expected.names
    assert kept.steps.tolist() == expected.steps.tolist() == [*range(1, done[-1] + 1)]
    np.testing.assert_allclose(kept.values, expected.values, rtol=0, atol=TOLERANCE[device.type])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name not in ("fedgan", "dpgan")])
def test_bf16_is_the_same_training_to_its_precision(name, whole, tmp_path, monkeypatch, device):
    """On any hardware: emulated where it is not native. Weights are kept in float32, and come out otherwise."""
    monkeypatch.setattr(seeding, "has_bf16", lambda device: True)
    TRAINED[name].train(tmp_path, seed=3, progress=silent, device=device, precision="bf16", **TRAINED[name].settings)
    rough, exact = (dict(zip(c.names, c.values.T, strict=True)) for c in map(read_curve, (tmp_path, whole(name)[0])))
    for loss, values in exact.items():
        # "source" is the square of how far a distance falls short of the margin, 1: by its own size it has no digits.
        one, other, scale = values, rough[loss], np.abs(values).max()
        if loss == "source":
            one, other, scale = np.sqrt(values), np.sqrt(rough[loss]), 1.0
        np.testing.assert_allclose(other, one, rtol=0, atol=BF16 * scale, err_msg=loss)
    rough, exact = tensors(tmp_path), tensors(whole(name)[0])
    assert any(not torch.equal(value, rough[key]) for key, value in exact.items())
    assert all(value.dtype == exact[key].dtype for key, value in rough.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(name, whole, tmp_path, caplog, device):
    case = TRAINED[name]
    train = partial(case.train, tmp_path, seed=3, device=device, **case.settings)
    interrupt(partial(train, save_seconds=0), case.killed)
    newest = tmp_path / f"step-{case.killed}.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    _, done = resume(train)
    assert done[0] == case.killed  # done again
    before = case.killed - 1
    assert f"{newest} is missing, truncated or altered: going on from the one before, of step {before}" in caplog.text
    assert_equal(tensors(whole(name)[0]), tensors(tmp_path), on=device.type)
    values, expected = (read_curve(path).values for path in (tmp_path, whole(name)[0]))
    np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE[device.type])


@pytest.mark.parametrize("name", TRAINED)
def test_a_second_writer_is_refused_and_told_who_the_first_is(name, tmp_path, monkeypatch):
    """From within the first training, as another process or thread would be; nothing of either is lost."""
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    case = TRAINED[name]
    train = partial(case.train, tmp_path, seed=3, **case.settings)
    refused = []

    def second(done, **losses):
        with pytest.raises(OSError, match=rf"is in use by process {os.getpid()} \(.*\) since 20.*; wait") as told:
            train(progress=never)
        assert "delete" not in str(told.value)
        refused.append(done)

    train(progress=second)
    assert refused == [*range(1, refused[-1] + 1)]
    train(progress=never)


@pytest.mark.parametrize("name", TRAINED)
def test_a_finished_training_is_fetched_and_other_settings_train_again(name, whole):
    case, (path, _) = TRAINED[name], whole(name)
    case.train(path, seed=3, progress=never, **case.settings)
    before = tensors(path)
    for change in ({"seed": 4}, {"learning_rate": 0.5} if name != "dpgan" else {"clip": 0.5}):
        with pytest.raises(AssertionError, match="trained again"):
            case.train(path, progress=never, **({"seed": 3} | case.settings | change))
    assert_equal(before, tensors(path))  # nothing is lost before the first new save


def test_other_images_or_labels_train_again(whole, caplog):
    path, _ = whole("dcgan")
    for data in ((255 - IMAGES, CLASSES), (IMAGES, 1 - CLASSES)):
        with pytest.raises(AssertionError, match="trained again"):
            train_dcgan(*data, path=path, seed=3, progress=never, width=4, ema=0.9, **TRAINED["dcgan"].settings)
    assert "training again, because data was" in caplog.text


@pytest.mark.parametrize("name", LOADED)
def test_what_is_loaded_is_what_was_trained(name, whole, device):
    path, trained = whole(name)
    loaded = LOADED[name](path, device=device)
    pairs = zip(trained, loaded, strict=True) if isinstance(trained, tuple) else [(trained, loaded)]
    for first, second in pairs:
        first, second = (getattr(part, "generator", part) for part in (first, second))
        assert_equal(first.state_dict(), second.state_dict())
        assert not second.training


@pytest.mark.parametrize("name", LOADED)
def test_a_foreign_missing_or_unfinished_training_is_refused(name, whole, tmp_path):
    foreign = whole("siamese" if name != "siamese" else "dcgan")[0]
    with pytest.raises(ValueError, match="The training in .* is"):
        LOADED[name](foreign)
    with pytest.raises(FileNotFoundError, match="run the notebook that trains it first"):
        LOADED[name](tmp_path / "nowhere")
    Checkpoint(tmp_path, {"model": name}).save({}, {}, 5)
    with pytest.raises(ValueError, match="stopped at step 5: run it again"):
        LOADED[name](tmp_path)


@pytest.mark.parametrize("name", TRAINED)
def test_a_damaged_checkpoint_is_refused(name, whole, tmp_path):
    case = TRAINED[name]
    path = shutil.copytree(whole(name)[0], tmp_path / "damaged")
    weights = path / "final.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="final.safetensors is missing, truncated or altered: delete the folder"):
        case.train(path, seed=3, progress=never, **case.settings)
    if name in LOADED:
        with pytest.raises(ValueError, match="truncated or altered"):
            LOADED[name](path)


def test_divergence_is_refused_and_not_saved(tmp_path):
    options = TRAINED["dcgan"].settings | {"width": 4, "learning_rate": 1e38}
    with pytest.raises(ValueError, match="DCGAN diverged by step 4 .*: lower the learning rate"):
        train_dcgan(IMAGES, CLASSES, path=tmp_path, seed=3, progress=silent, **options)
    assert not (tmp_path / "checkpoint.json").exists()
    with pytest.raises(ValueError, match="at least one step, not 0"):
        train_dcgan(IMAGES, CLASSES, path=tmp_path, seed=3, progress=silent, **(options | {"steps": 0}))


@pytest.mark.parametrize("name", DRAWN)
def test_a_sample_does_not_depend_on_the_batch(name, whole, device):
    trained = whole(name)[1]
    at_once, in_parts = (DRAWN[name](trained, batch=batch, device=device) for batch in (64, 3))
    assert at_once.shape[0] == 11
    assert name == "siamese" or at_once.dtype == np.uint8
    assert np.abs(at_once.astype(float) - in_parts).max() <= 1  # sums of another batch may round otherwise


@pytest.mark.parametrize("name", GENERATORS)
def test_samples_are_seeded_images_of_the_training_shape(name, whole, device):
    path, trained = whole(name)
    labels = LABELS[name]
    made = trained.sample(11, labels=labels, seed=1)
    assert (made.shape, made.dtype) == (SHOWN[name].shape, np.uint8)
    assert np.array_equal(made, generators.load(path, device=device).sample(11, labels=labels, seed=1))
    assert not np.array_equal(made, trained.sample(11, labels=labels, seed=2))
    if name not in ("dcgan", "dpgan"):  # whose noise is not drawn in whole blocks
        few = trained.sample(5, labels=None if labels is None else labels[:5], seed=1)
        assert np.abs(made[:5].astype(int) - few).max() <= 1


@pytest.mark.parametrize(
    ("name", "wrong"),
    [(name, wrong) for name in ("dcgan", "acgan", "stylegan2", "dpgan")
     for wrong in ([0, 3, 1], [-1, 0, 0], [0.5, 0, 0], [0, 0], [[0], [0], [0]])]
    + [(name, wrong) for name in ("progan", "fedgan")
       for wrong in ([[0, 2]] * 3, [[0, np.nan]] * 3, [0, 1, 0], [[0, 1, 0]] * 3, [[0, 1]] * 2)]
    + [(name, None) for name, labels in LABELS.items() if labels is not None]
    + [("autodecoder", [0, 0, 0])],
)  # fmt: skip
def test_labels_out_of_range_are_refused(name, wrong, whole):
    trained = whole(name)[1]
    with pytest.raises(ValueError, match="Labels to generate must be|without labels"):
        trained.sample(3, labels=wrong, seed=1)
    with pytest.raises(ValueError, match="at least 1|give 0 of"):
        trained.sample(0, labels=None, seed=1)


@pytest.mark.parametrize("name", GENERATORS)
def test_what_is_no_count_or_seed_is_refused(name, whole):
    trained, labels = whole(name)[1], LABELS[name]
    asked = {"n": 11, "labels": labels, "seed": 1, "batch": 4}
    for argument, least, wrong in (("n", 1, (0, 2.0, True, "3")), ("seed", 0, (-1, 0.5, True)), ("batch", 1, (0, 2.5))):
        for value in wrong:
            with pytest.raises(
                ValueError, match=f"^{argument} is {value!r}: give a whole number of at least {least}.$"
            ):
                trained.sample(**(asked | {argument: value}))


def test_refused_labels_are_described(whole):
    for name, wrong, got in (
        ("dcgan", [0, 3, 1], r"int64 of shape \(3,\) from 0 to 3"),
        ("dcgan", None, "None"),
        ("progan", [[0, 2]] * 3, r"int64 of shape \(3, 2\) from 0 to 2"),
        ("progan", [["a", "b"]] * 3, r"<U1 of shape \(3, 2\)"),
        ("fedgan", [[0], [0, 1], [1]], r"object of shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=f"not {got}.$"):
            whole(name)[1].sample(3, labels=wrong, seed=1)


def test_an_autodecoder_draws_the_latents_it_is_given(whole):
    trained = whole("autodecoder")[1]
    own = trained.sample(11, latents=trained.latents)
    assert np.array_equal(own[:4], trained.sample(4, latents=trained.latents[:4], seed=1))
    with pytest.raises(ValueError, match="Give a seed"):
        trained.sample(11)
    with pytest.raises(ValueError, match="give 11 of 8 numbers"):
        trained.sample(11, latents=trained.latents[:, :5])


def test_unknown_and_repeated_names_raise(tmp_path):
    with pytest.raises(ValueError, match="unknown generator 'gan': choose one of dcgan, acgan, progan, stylegan2"):
        generators.train("gan", IMAGES, path=tmp_path, seed=0)
    with pytest.raises(ValueError, match="'dcgan' is registered already"):
        generators.register(DCGAN, train_dcgan)
    assert generators.names()[:3] == ("dcgan", "acgan", "progan")


@pytest.mark.parametrize(
    ("name", "labels", "options", "sentence"),
    [
        ("dcgan", None, {"steps": 1}, "dcgan is trained on labels: give one"),
        ("autodecoder", CLASSES, {"steps": 1}, "autodecoder is trained without labels: give none"),
        ("dcgan", CLASSES, {"stepz": 1}, "dcgan has no option stepz: choose of steps, batch, classes, latent"),
        ("fedgan", CLASSES, {"rounds": 1, "shape": 3}, "fedgan has no option shape: choose of rounds, .*critic_steps"),
        ("dcgan", CLASSES, {"batch": 4}, "dcgan is not trained without steps"),
    ],
)
def test_what_a_generator_is_not_trained_by_is_refused(name, labels, options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as caught:
        generators.train(name, IMAGES, labels, path=tmp_path / "x", seed=0, **options)
    assert "\n" not in str(caught.value)


def test_the_training_of_another_model_is_not_trained_over(whole):
    path = whole("siamese")[0]
    before = tensors(path)
    with pytest.raises(ValueError, match=f"{path} holds the training of 'siamese', not of dcgan: give another"):
        generators.train("dcgan", IMAGES, CLASSES, path=path, seed=3, steps=1)
    assert_equal(before, tensors(path))


@pytest.mark.parametrize(
    "altered", [{"width": 8}, {"width": None}, {"width": "x"}, {"image_size": []}, "width", "model"]
)
def test_settings_that_do_not_fit_the_weights_are_refused(altered, whole, tmp_path):
    path = shutil.copytree(whole("dcgan")[0], tmp_path / "altered")
    record = json.loads((path / "checkpoint.json").read_text())
    if isinstance(altered, dict):
        record["settings"] |= altered
    else:
        del record["settings"][altered]
    (path / "checkpoint.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="damaged or foreign|not of a known generator|is not one of") as caught:
        generators.load(path, device=CPU)
    assert "\n" not in str(caught.value)


def test_a_new_generator_is_known_by_its_name(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    monkeypatch.setattr(registry, "keep_probe", lambda *_, **__: None)  # nothing is trained here
    monkeypatch.setattr(store, "keep_summary", lambda *_: None)
    other = type("Other", (DCGAN,), {"name": "other"})
    generators.register(other, lambda images, labels, *, path, seed, steps: (images, labels, path, seed, steps))
    assert generators.train("other", 1, 2, path="p", seed=0, steps=3) == (1, 2, "p", 0, 3)
    found, _, step = Checkpoint(whole("dcgan")[0], None).load()
    kept = Checkpoint(whole("dcgan")[0], None)
    kept.load()
    Checkpoint(tmp_path, kept.settings | {"model": "other"}).save(found, None, step, finished=True)
    assert type(generators.load(tmp_path, device=CPU)) is other


def test_a_stored_generator_is_loaded_by_its_name(whole, tmp_path, monkeypatch, device):
    monkeypatch.setattr(store, "STORE", tmp_path)
    folder = shutil.copytree(whole("dcgan")[0], tmp_path / "run")
    (folder / "images.json").unlink(missing_ok=True)  # as of a training by train_dcgan
    with pytest.raises(ValueError, match="does not say of which images it is"):
        registry.keep(folder, "chest", about="squares of noise")
    store.keep_summary(folder, np.zeros((3, 16, 16), np.uint8), None)
    registry.keep_probe(folder, generators.load(folder, device=device), labels=[0, 1])
    registry.keep(folder, "chest", about="squares of noise")
    loaded = generators.load("chest", device=device)
    trained = whole("dcgan")[1].generator.state_dict()
    halved = {key: value.half().float() if value.ndim > 1 else value for key, value in trained.items()}
    assert_equal(loaded.generator.state_dict(), halved)
    with pytest.raises(FileNotFoundError, match="no stored one of that name, but chest"):
        generators.load("abdomen", device=CPU)
    monkeypatch.setattr(store, "STORE", tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="in abdomen: run the notebook that trains it first"):
        generators.load("abdomen", device=CPU)
    with pytest.raises(FileNotFoundError, match="in progan: give the folder of a finished training, or train one of"):
        generators.load("progan", device=CPU)
    with pytest.raises(ValueError, match="dcgan is loaded without after: known are none"):
        generators.load(tmp_path / "chest", device=CPU, after=3)
