"""A rehearsed training: which steps run, and what they say about all of them."""

import json

import pytest
import torch
from torch import nn

from lib.training.classifier.single_label import train_classifier
from lib.training.loop import rehearsal
from lib.training.loop.curve import read_curve
from lib.training.loop.inference import in_batches
from lib.training.loop.trainer import Trainer, run_training

NETWORK = nn.Linear(2, 2)


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(rehearsal, "time", clock)
    return clock


@pytest.fixture
def noted(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_REHEARSAL", "2")
    monkeypatch.setenv("SUITE_REHEARSED", str(tmp_path / "trainings"))
    return lambda: [json.loads(line) for line in (tmp_path / "trainings").read_text().splitlines()]


def test_outside_a_rehearsal_every_step_runs_and_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_REHEARSED", str(tmp_path / "trainings"))
    assert list(rehearsal.Steps("GAN", 3, 7)) == [3, 4, 5, 6]
    assert list(rehearsal.Epochs("classifier", 1, 4, network=NETWORK, images=9)) == [1, 2, 3]
    assert not (tmp_path / "trainings").exists()


@pytest.mark.parametrize(("steps", "run"), [(3001, [0, 1000, 2000, 3000]), (2, [0, 1]), (1, [0])])
def test_few_steps_of_known_length_give_the_length_of_all(clock, noted, steps, run):
    numbers = []
    for number in rehearsal.Steps("GAN", 0, steps):
        numbers.append(number)
        clock.now += 0.25 if number or steps == 1 else 7.0  # the first makes what the others find
    assert numbers == run
    [note] = noted()
    assert note == {"name": "GAN", "spent": clock.now, "whole": steps * 0.25, "by_image": False}


def test_of_long_steps_the_first_suffices(clock, noted):
    numbers = []
    for number in rehearsal.Steps("GAN", 0, 3001):
        numbers.append(number)
        clock.now += 61.0
    assert numbers == [0]
    [note] = noted()
    assert note == {"name": "GAN", "spent": 61.0, "whole": 3001 * 61.0, "by_image": False}


def test_parts_of_parts_of_a_long_step_are_left_out_and_counted(clock, noted, monkeypatch):
    monkeypatch.setattr(rehearsal, "_skipped", 0.0)
    ran = []
    for _ in rehearsal.Steps("federated GAN", 0, 100):
        for client in rehearsal.alike([4, 7]):
            for part in rehearsal.alike(range(10)):
                ran.append((client, part))
                clock.now += 40.0
    assert ran == [(4, 0), (4, 1)]
    *left_out, note = noted()
    assert note == {"name": "federated GAN", "spent": 800.0, "whole": 80_000.0, "by_image": False}
    assert sum(of["spent"] for of in left_out) == -720.0
    assert {of["whole"] for of in left_out} == {0.0}


@pytest.mark.parametrize("is_rehearsed", [False, True])
def test_every_part_of_a_short_step_runs(clock, noted, monkeypatch, is_rehearsed):
    monkeypatch.setenv("SUITE_REHEARSAL", "2" if is_rehearsed else "")
    ran = []
    for part in rehearsal.alike([3, 5, 8]):
        ran.append(part)
        clock.now += 20.0 if is_rehearsed else 200.0
    assert ran == [3, 5, 8]


def test_on_one_part_the_last_step_runs(noted, monkeypatch):
    monkeypatch.setenv("SUITE_REHEARSAL", "1")
    assert list(rehearsal.Steps("GAN", 0, 3001)) == [3000]


def test_one_epoch_gives_the_length_of_all(clock, noted):
    for _ in rehearsal.Epochs("classifier", 0, 40, network=NETWORK, images=5):
        clock.now += 1.5
    of = {"name": "classifier, 6 weights", "spent": 1.5, "by_image": True, "pace": 0.3}
    assert noted() == [of | {"whole": pytest.approx(60.0)}]


def test_of_a_long_epoch_the_batches_of_a_minute_give_the_length_of_all(clock, noted):
    passes, parts = rehearsal.Epochs("classifier", 0, 40, network=NETWORK, images=100), []
    for _ in passes:
        for part in passes.batches(100, 8):
            parts.append(part)
            clock.now += 25.0
        clock.now += 10.0  # the validation, which is whole
    assert parts == [slice(0, 8), slice(8, 16), slice(16, 24)]
    [note] = noted()
    assert note["spent"] == 85.0
    assert note["whole"] == pytest.approx(40 * (75.0 * 100 / 24 + 10.0))


def test_of_a_long_step_too(clock, noted):
    passes, parts = rehearsal.Steps("latent walk", 0, 500, by_image=True), []
    for _ in passes:
        for part in passes.batches(96, 16):
            parts.append(part)
            clock.now += 80.0
    assert parts == [slice(0, 16)]
    assert noted() == [{"name": "latent walk", "spent": 80.0, "whole": 500 * 80.0 * 6, "by_image": True}]


def one_epoch(clock, images, seconds, network=None):
    """Rehearse a training of `seconds` an image, in batches of 64; how many images were shown."""
    passes, shown = rehearsal.Epochs("classifier", 0, 10, network=network or NETWORK, images=images), 0
    for _ in passes:
        for part in passes.batches(images, 64):
            clock.now += seconds * (part.stop - part.start)
            shown += part.stop - part.start
    return shown


def test_after_two_long_trainings_of_a_kind_the_next_show_a_few_images_at_the_known_pace(clock, noted):
    shown = [one_epoch(clock, images, 0.5) for images in (50, 60, 100)]
    assert shown == [50, 60, 4]
    assert one_epoch(clock, 40, 2.0, nn.Linear(3, 4)) == 40  # of other weights: another kind
    assert [note["whole"] for note in noted()] == pytest.approx([10 * 25.0, 10 * 30.0, 10 * 50.0, 10 * 80.0])


def test_on_one_part_one_long_training_of_a_kind_suffices(clock, noted, monkeypatch):
    monkeypatch.setenv("SUITE_REHEARSAL", "1")
    assert [one_epoch(clock, images, 0.5) for images in (50, 60)] == [50, 4]


def test_short_trainings_are_shown_whole(clock, noted):
    assert [one_epoch(clock, 50, 0.01) for _ in range(4)] == [50] * 4


def test_outside_a_rehearsal_an_epoch_has_every_batch_however_long(clock):
    parts = []
    for part in rehearsal.Epochs("classifier", 0, 1, network=NETWORK, images=100).batches(100, 8):
        parts.append(part)
        clock.now += 100.0
    assert parts == [slice(start, min(start + 8, 100)) for start in range(0, 100, 8)]


@pytest.fixture
def passes(monkeypatch):
    """What no earlier test has left: no rows are skipped, and of no pass a whole batch was seen."""
    monkeypatch.setattr(rehearsal, "_skipped", 0.0)
    monkeypatch.setattr(rehearsal, "_seen_whole", set())


def slow(clock, seconds, asked):
    """A network in use that takes `seconds` an image, and answers with the numbers of the rows."""

    def function(part):
        rows = torch.arange(100_000)[part]
        asked.append((part.start, len(rows)))
        clock.now += seconds * len(rows)
        return torch.stack([rows, -rows], dim=1)

    return function


def test_a_network_that_would_be_long_over_all_rows_is_given_some_evenly_spread(clock, noted, passes):
    asked = []
    found = in_batches(slow(clock, 1.0, asked), 100, 16)
    assert asked == [(0, 1), (0, 1), (0, 16)]  # one whole batch, whose memory is to be seen
    assert found[:, 0].tolist() == [row % 16 for row in range(100)]
    asked.clear()
    found = in_batches(slow(clock, 1.0, asked), 100, 16)
    assert asked == [(0, 1), (0, 1), (50, 1), (99, 1)]
    answers = found[:, 0].tolist()
    assert [answers[row] for row in (0, 50, 99)] == [0, 50, 99]
    assert answers[1:7] == [50, 99, 0, 50, 99, 0]  # so that no few rows in a row are all alike
    assert found[:, 1].tolist() == (-found[:, 0]).tolist()
    # what passed, and what was left out by the notes, are the 100 seconds of each pass
    assert clock.now - sum(note["spent"] for note in noted()) == pytest.approx(200.0)
    assert {note["whole"] for note in noted()} == {0.0}


def test_a_network_that_is_quick_is_given_all_rows(clock, noted, passes, tmp_path):
    asked = []
    found = in_batches(slow(clock, 0.001, asked), 1000, 64)
    assert found[:, 0].tolist() == list(range(1000))
    assert asked[2:] == [(start, min(64, 1000 - start)) for start in range(0, 1000, 64)]
    assert not (tmp_path / "trainings").exists()


def test_outside_a_rehearsal_it_is_given_all_rows_however_long(clock, passes):
    asked = []
    assert in_batches(slow(clock, 9.0, asked), 100, 48)[:, 0].tolist() == list(range(100))
    assert asked == [(0, 48), (48, 48), (96, 4)]


@pytest.mark.parametrize("rows", [1, 2, 3, 47, 48, 49])
def test_of_any_number_of_rows_the_first_and_the_last_are_answered(clock, noted, passes, rows):
    for _ in range(2):
        found = in_batches(slow(clock, 30.0, []), rows, 48)
        assert found.shape == (rows, 2)
        assert found[0, 0] == 0
    assert found[-1, 0] == rows - 1


def test_rows_skipped_within_a_training_lengthen_it_and_nothing_else(clock, noted, passes):
    """A validation of a hundred seconds in every epoch, of which the rehearsal runs a part."""
    for _ in rehearsal.Epochs("classifier", 0, 7, network=NETWORK, images=50):
        clock.now += 5.0
        in_batches(slow(clock, 1.0, []), 100, 16)
    *_, training = noted()
    assert training["whole"] == pytest.approx(7 * 105.0)
    assert clock.now - sum(note["spent"] for note in noted()) == pytest.approx(0.0)  # nothing is left for the rest


class Counted(Trainer):
    stream = "counted"

    def __init__(self, steps):
        super().__init__({"batch": 2, "seed": 0}, torch.device("cpu"))
        self.networks, self.ran = {"generator": nn.Linear(1, 1)}, steps

    def train_step(self, step):
        self.ran.append(step)
        return {"loss": torch.tensor(1.0)}


def test_a_rehearsed_training_is_finished_for_those_who_need_it(tmp_path, noted):
    ran = []
    for _ in range(2):
        run_training(lambda: Counted(ran), name="GAN", path=tmp_path / "gan", settings={"a": 1}, steps=601)
    assert ran == [0, 200, 400, 600]
    assert read_curve(tmp_path / "gan").steps.tolist() == [1, 201, 401, 601]
    assert [note["name"] for note in noted()] == ["GAN"]


def test_a_classifier_runs_one_epoch_of_many(noted):
    images = torch.randint(0, 256, (8, 8, 8), dtype=torch.uint8).numpy()
    labels = [0, 1] * 4
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    history = train_classifier(
        network, images=images, labels=labels, validation=(images, labels), epochs=50, batch=4, learning_rate=1e-3,
        seed=0,
    )  # fmt: skip
    assert len(history.loss) == 1
    [note] = noted()
    assert note["whole"] == pytest.approx(50 * note["spent"])
