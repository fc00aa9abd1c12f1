"""Methods of the comparison: the controls are what they say, and a generator is added by one entry."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib import generators
from lib.cohorts.cohort import Cohort
from lib.cohorts.lung_segmentation import segmented
from lib.cohorts.phantoms import chest
from lib.comparison import methods
from lib.comparison.controls import CONTAMINATION, GROUPS, NEGATIVE_CONTROL, POSITIVE_CONTROL
from lib.comparison.methods import METHODS, Materials, Method, Radiographs
from lib.comparison.registry import Registry
from lib.training.gan import registry
from lib.training.loop.checkpoint import Checkpoint


def cohort(first: int) -> Cohort:
    images = np.random.default_rng(first).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    return Cohort(
        images, first + np.arange(40) // 2, np.arange(40) % 2, np.zeros(40), name="toy", label_names=("0", "1")
    )


@pytest.fixture
def materials(tmp_path):
    settings = SimpleNamespace(leak=0.1, generators={"dummy": "toy"}, toy={"shade": 7})
    return Materials(
        cohort(0),
        settings,
        3,
        folder=lambda name: tmp_path / name,
        disjoint=cohort(100),
        trained=lambda name: tmp_path / name,
        decoder=None,
        auxiliary={},
    )


def test_the_controls_hold_what_they_say(materials):
    train, disjoint = materials.train, materials.disjoint
    copies = METHODS[POSITIVE_CONTROL].make(materials)
    assert np.array_equal(copies.images, train.images)
    assert np.array_equal(copies.origin, train.patient)
    others = METHODS[NEGATIVE_CONTROL].make(materials)
    assert np.array_equal(others.images, disjoint.images)
    assert not np.isin(others.origin, train.patient).any()
    mixed = METHODS[CONTAMINATION].make(materials)
    known = {image.tobytes(): row for row, image in enumerate(train.images)}
    rows = [known.get(image.tobytes()) for image in mixed.images]
    copied = np.array([row is not None for row in rows])
    assert copied.sum() == 4  # a tenth of 40
    source = np.array([row for row in rows if row is not None])
    assert np.array_equal(mixed.origin[copied], train.patient[source])  # a copy is its patient's, with its label
    assert np.array_equal(mixed.labels[copied], train.labels[source])
    assert np.array_equal(mixed.images[~copied], disjoint.images[~copied])
    assert np.array_equal(mixed.origin[~copied], disjoint.patient[~copied])


def test_the_evidence_of_a_radiograph_is_its_own_lungs(tmp_path):
    train = chest.draw(patients=12, image_size=32, radiographs=1.0, rng=np.random.default_rng(0))
    of = Materials(train, SimpleNamespace(), 0, folder=None, disjoint=None, trained=None, decoder=None, auxiliary={})
    alone = [segmented(image[None]).masks[0] for image in of.images]
    assert np.array_equal(of.lungs.masks, alone)
    assert len(np.unique(of.lungs.masks, axis=0)) == len(train)  # no mask of all radiographs
    assert of.lungs.found.all()


class Toy(generators.TrainedGenerator):
    """A generator that draws one shade, and knows what it was trained on."""

    name = "toy"

    def __init__(self, settings):
        self.settings = settings

    @classmethod
    def restored(cls, tensors, settings, device):
        return cls(settings)

    def sample(self, n, *, labels=None, seed, batch=256):
        assert (self.settings["seed"], self.settings["images"], self.settings["ill"]) == (seed, n, int(labels.sum()))
        return np.full((n, 8, 8), self.settings["shade"], np.uint8)


def train_toy(images, labels, *, path, seed, shade):
    settings = {"model": "toy", "shade": shade, "seed": seed, "images": len(images), "ill": int(labels.sum())}
    Checkpoint(path, settings).save({"weight": torch.zeros(1)}, None, 1, finished=True)
    return Toy(settings)


def test_a_generator_is_added_by_its_title_and_its_settings(materials, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    for probe in ("keep_probe", "check_probe"):  # the toy draws one number of images only
        monkeypatch.setattr(registry, probe, lambda *_, **__: None)
    generators.register(Toy, train_toy)
    table = methods.methods(materials.settings)
    assert table.names == ("dummy", *METHODS.names)
    table["dummy"].train(Radiographs(materials.train, materials.settings, materials.seed, materials.folder))
    made = table["dummy"].make(materials)
    assert (made.images == 7).all()
    assert np.array_equal(made.labels, materials.labels)
    assert len(np.unique(made.origin)) == 40  # no two images stem from one patient
    assert not np.isin(made.origin, [*materials.train.patient, *materials.disjoint.patient]).any()


def test_a_generator_under_the_title_of_a_method_is_refused():
    with pytest.raises(ValueError, match="'PLAN' is registered already"):
        methods.methods(SimpleNamespace(generators={"PLAN": "dcgan"}))


def test_what_methods_share_is_prepared_once(monkeypatch, materials):
    done, table = [], Registry("method", GROUPS)
    monkeypatch.setattr(methods, "METHODS", table)

    def prepare(of):
        done.append(of)

    for name in ("first", "second"):
        table.register(Method(name, "walk", make=lambda of: None, prepare=prepare))
    table.register(Method("third", "walk", make=lambda of: None))
    for task in methods.preparations(materials):
        task()
    assert done == [materials]


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(ValueError, match="leave slashes out"):
        Method("a/b", "walk", make=lambda of: None)


def test_every_generator_is_trained_on_the_radiographs_alone(materials):
    for method in methods.methods(materials.settings):
        assert (method.train is not None) == (method.group == "generator")
