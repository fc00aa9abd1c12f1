"""Methods of the comparison: the controls are what they say, and a generator is added by one entry."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.comparison import methods
from lib.comparison.methods import (
    CONTAMINATION,
    GROUPS,
    METHODS,
    NEGATIVE_CONTROL,
    POSITIVE_CONTROL,
    Materials,
    Method,
    Radiographs,
    generator,
)
from lib.comparison.registry import Registry


def cohort(first: int) -> Cohort:
    images = np.random.default_rng(first).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    return Cohort(
        images, first + np.arange(40) // 2, np.arange(40) % 2, np.zeros(40), name="toy", label_names=("0", "1")
    )


@pytest.fixture
def materials(tmp_path):
    settings = SimpleNamespace(leak=0.1, dummy={"shade": 7})
    return Materials(
        cohort(0),
        settings,
        3,
        folder=lambda name: tmp_path / name,
        disjoint=cohort(100),
        trained=lambda name: tmp_path / name,
        decoder=None,
        guides={},
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


def toy_train(images, labels, *, path, seed, shade):
    path.write_text(f"{shade} {seed} {len(images)} {labels.sum()}")


def toy_load(path):
    return [int(word) for word in path.read_text().split()]


def toy_sample(network, labels, *, seed):
    assert network == [7, seed, len(labels), labels.sum()]  # what was trained: its settings, seed and radiographs
    return np.full((len(labels), 8, 8), network[0], np.uint8)


@pytest.fixture
def table(monkeypatch):
    """A registry of methods of its own, so that a test may add to it."""
    own = Registry("method", GROUPS)
    for entry in METHODS:
        own.register(entry)
    monkeypatch.setattr(methods, "METHODS", own)
    return own


def test_a_generator_is_added_by_one_entry_and_its_settings(table, materials):
    before = table.names
    table.register(generator("dummy", settings="dummy", train=toy_train, load=toy_load, sample=toy_sample))
    assert [name for name in table.names if name != "dummy"] == list(before)
    assert table.names.index("dummy") == len(METHODS.of("generator"))  # the last of the generators
    dummy = table["dummy"]
    dummy.train(Radiographs(materials.train, materials.settings, materials.seed, materials.folder))
    made = dummy.make(materials)
    assert (made.images == 7).all()
    assert np.array_equal(made.labels, materials.labels)
    assert len(np.unique(made.origin)) == 40  # no two images stem from one patient
    assert not np.isin(made.origin, [*materials.train.patient, *materials.disjoint.patient]).any()


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


def test_every_generator_is_trained_on_the_radiographs_alone():
    for method in METHODS:
        assert (method.train is not None) == (method.group == "generator")
