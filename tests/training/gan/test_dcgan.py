"""GAN training: it learns, it resumes exactly, it refuses bad input; its augmentation equals crop and resize."""

import copy
import json
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.models.gan.dcgan import Generator
from lib.training.augment.affine import flipped_and_cropped
from lib.training.gan.dcgan import Adversaries, generate, load_generator, train_dcgan
from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.progress import Progress, progress

TINY = {"steps": 8, "batch": 4, "width": 4, "learning_rate": 1e-3, "seed": 3}


def _silent(done, **losses):
    pass


def _two_classes(n=160, dark=60, bright=190):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    means = np.where(labels == 1, bright, dark)[:, None, None]
    return np.clip(means + rng.normal(0, 12, (n, 16, 16)), 0, 255).astype(np.uint8), labels


def _weights(folder):
    return Checkpoint(folder, None).load()[0]


def _equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_learns_the_brightness_of_each_class(tmp_path):
    images, labels = _two_classes()
    generator = train_dcgan(
        images, labels, path=tmp_path, seed=0, steps=220, batch=16, width=8, learning_rate=1e-3, progress=_silent
    )
    drawn = generate(generator, np.repeat([0, 1], 64), seed=1)
    assert drawn.shape == (128, 16, 16)
    assert drawn.dtype == np.uint8
    assert abs(drawn[:64].mean() - 60) < 30
    assert abs(drawn[64:].mean() - 190) < 45


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"as_published": True, "norm": "batch", "augment": False}])
def test_resumed_equals_uninterrupted(tmp_path, options):
    """Killed after some save, in another process's shoes: bit for bit the same weights."""
    images, labels = _two_classes(11)
    settings = TINY | options

    def kill(done, **losses):
        if done == 5:
            raise KeyboardInterrupt

    train_dcgan(images, labels, path=tmp_path / "whole", progress=_silent, **settings)
    with pytest.raises(KeyboardInterrupt):
        train_dcgan(images, labels, path=tmp_path / "killed", progress=kill, save_seconds=0, **settings)
    assert Checkpoint(tmp_path / "killed", None).load()[2] == 5
    torch.manual_seed(99)
    seen = []
    train_dcgan(images, labels, path=tmp_path / "killed", progress=lambda done, **_: seen.append(done), **settings)
    assert seen == [6, 7, 8]
    _equal(_weights(tmp_path / "whole"), _weights(tmp_path / "killed"))
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["checkpoint.json", "final.safetensors"]


def test_finished_training_is_returned_and_other_settings_train_again(tmp_path, caplog):
    images, labels = _two_classes(8)
    first = train_dcgan(images, labels, path=tmp_path, progress=_silent, **TINY)

    def never(done, **losses):
        raise AssertionError("trained again")

    again = train_dcgan(images, labels, path=tmp_path, progress=never, **TINY)
    _equal(first.state_dict(), again.state_dict())
    _equal(first.state_dict(), load_generator(tmp_path).state_dict())
    with caplog.at_level(logging.WARNING), pytest.raises(AssertionError, match="trained again"):
        train_dcgan(images, labels, path=tmp_path, progress=never, **(TINY | {"seed": 4}))
    assert "seed was 3 and is 4" in caplog.text
    with pytest.raises(AssertionError, match="trained again"):
        train_dcgan(255 - images, labels, path=tmp_path, progress=never, **TINY)
    _equal(first.state_dict(), load_generator(tmp_path).state_dict())  # nothing lost before the first new save


def test_generator_turn_is_every_step_or_as_published_every_second(tmp_path):
    images, labels = _two_classes(8)
    _, resolved = _settings(tmp_path, images, labels)
    for as_published, expected in ((False, [True] * 4), (True, [False, True, False, True])):
        adversaries = _adversaries(images, labels, resolved | {"as_published": as_published})
        changed = []
        for step in range(4):
            before = adversaries.tensors()["generator.layers.0.weight"].clone()
            adversaries.step(step)
            changed.append(not torch.equal(before, adversaries.tensors()["generator.layers.0.weight"]))
        assert changed == expected


def test_one_pass_over_real_and_fake_equals_two(tmp_path):
    """Instance statistics do not mix images, so the joined pass is the textbook objective."""
    images, labels = _two_classes(8)
    _, resolved = _settings(tmp_path, images, labels)
    adversaries = _adversaries(images, labels, resolved)
    a, b = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    classes = torch.tensor([0, 1, 1])
    joined = adversaries._judge(a, classes, b, classes.flip(0))
    apart = adversaries.discriminator(a, classes), adversaries.discriminator(b, classes.flip(0))
    torch.testing.assert_close(torch.stack(joined), torch.stack(apart), rtol=1e-4, atol=1e-6)


def test_bf16_is_the_same_training_to_its_precision(tmp_path, monkeypatch):
    """Emulated where the hardware lacks it; channels last must survive saving and restoring as well."""
    images, labels = _two_classes(8)
    _, resolved = _settings(tmp_path, images, labels)
    exact = _adversaries(images, labels, resolved)
    monkeypatch.setattr("lib.core.seeding.has_bf16", lambda device: True)
    rough, other = (_adversaries(images, labels, resolved | {"precision": "bf16"}) for _ in range(2))
    for loss, approximate in zip(exact.step(0).values(), rough.step(0).values(), strict=True):
        torch.testing.assert_close(approximate, loss, rtol=0.05, atol=0)
    other.restore(rough.tensors(), copy.deepcopy(rough.state()))
    for adversaries in (rough, other):
        adversaries.step(1)
        assert adversaries.discriminator.layers[2].weight.is_contiguous(memory_format=torch.channels_last)
    _equal(rough.tensors(), other.tensors())


def test_average_without_memory_is_the_generator(tmp_path):
    images, labels = _two_classes(8)
    generator = train_dcgan(images, labels, path=tmp_path, progress=_silent, ema=0.0, **TINY)
    tensors = _weights(tmp_path)
    for key, value in generator.state_dict().items():
        assert torch.equal(value, tensors["generator." + key])
    train_dcgan(images, labels, path=tmp_path / "slow", progress=_silent, ema=0.99, **TINY)
    slow = _weights(tmp_path / "slow")
    assert torch.equal(slow["generator.layers.0.weight"], tensors["generator.layers.0.weight"])
    assert not torch.equal(slow["average.module.layers.0.weight"], slow["generator.layers.0.weight"])


def _settings(tmp_path, images, labels):
    train_dcgan(images, labels, path=tmp_path, progress=_silent, **TINY)
    record = json.loads((tmp_path / "checkpoint.json").read_text())
    return record, record["settings"]


def _adversaries(images, labels, settings):
    pixels, classes = torch.from_numpy(images[:, None]), torch.from_numpy(labels)
    return Adversaries(pixels, classes, settings, torch.device("cpu"))


def test_augmentation_equals_crop_and_resize():
    """Against a literal loop: crop whole pixels, resize bilinearly, flip. The border blends with what was cut off."""
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.random((12, 1, 32, 32)))
    draws = torch.from_numpy(rng.random((12, 24)))
    fast = flipped_and_cropped(images, draws)
    whole = 0
    for image, row, result in zip(images, draws.numpy(), fast, strict=True):
        w, h = 32, 32
        for area, aspect in zip(row[:10], row[10:20], strict=True):
            area, aspect = 1024 * (0.95 + 0.05 * area), np.exp(np.log(0.95) + np.log(1.1 / 0.95) * aspect)
            tried = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if max(tried) <= 32:
                w, h = tried
                break
        whole += (w, h) == (32, 32)
        left, top = int(row[20] * (33 - w)), int(row[21] * (33 - h))
        slow = F.interpolate(image[None, :, top : top + h, left : left + w], size=(32, 32), mode="bilinear")[0]
        axes = [axis for axis, draw in ((2, row[22]), (1, row[23])) if draw < 0.5]
        torch.testing.assert_close(result[:, 1:-1, 1:-1], slow.flip(axes)[:, 1:-1, 1:-1], rtol=0, atol=1e-9)
    assert 0 < whole < 12


def test_generate_is_seeded_clipped_and_independent_of_batch():
    generator = Generator(16, width=4)
    with torch.no_grad():
        generator.layers[-2].weight.mul_(1e4)  # saturate the tanh: -1 must become 0, not wrap around
    labels = np.arange(10) % 2
    drawn = generate(generator, labels, seed=0)
    assert np.isin(drawn, [0, 255]).mean() > 0.9
    np.testing.assert_array_equal(drawn, generate(generator, labels, seed=0, batch=3))
    assert (drawn != generate(generator, labels, seed=1)).any()
    with pytest.raises(ValueError, match=r"integers in 0\.\.1"):
        generate(generator, [0, 2], seed=0)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda x, y: (np.where(x > 0, np.nan, 0.0), y), "NaN or infinite pixels"),
        (lambda x, y: (x / 255, y), "are float64: give uint8"),
        (lambda x, y: (x[:, :12], y), "give \\(n, s, s\\)"),
        (lambda x, y: (x[:, :12, :12], y), "12 is not one of 16, 32"),
        (lambda x, y: (x[:3], y[:3]), "do not fill one batch of 4"),
        (lambda x, y: (x, np.zeros(8, int)), "each of 0..1 must occur"),
        (lambda x, y: (x, y[:5]), "must be 8 integers"),
    ],
)
def test_bad_data_is_refused_in_a_sentence(tmp_path, spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_dcgan(*spoil(*_two_classes(8)), path=tmp_path / "none", progress=_silent, **TINY)
    assert not (tmp_path / "none").exists()


def test_no_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one step, not 0"):
        train_dcgan(*_two_classes(8), path=tmp_path, **(TINY | {"steps": 0}))


def test_divergence_is_refused_and_not_saved(tmp_path):
    with pytest.raises(ValueError, match="diverged before step"):
        train_dcgan(*_two_classes(8), path=tmp_path, progress=_silent, **(TINY | {"learning_rate": 1e38}))
    assert not (tmp_path / "checkpoint.json").exists()


def test_unfinished_or_missing_generator(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the notebook that trains it first"):
        load_generator(tmp_path)
    Checkpoint(tmp_path, {}).save({}, {}, 5)
    with pytest.raises(ValueError, match="stopped at step 5: run it again"):
        load_generator(tmp_path)


@pytest.mark.parametrize("file", ["checkpoint.json", "step-2.safetensors", "step-2.pt"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_checkpoint_names_the_file_and_the_remedy(tmp_path, file, damage):
    checkpoint = Checkpoint(tmp_path, {"a": (1, 2), "b": np.int64(3)})
    checkpoint.save({"w": torch.arange(6.0).view(2, 3).T}, {"m": [torch.ones(2)], "k": 0.5}, 2)
    tensors, state, step = Checkpoint(tmp_path, {"a": [1, 2], "b": 3}).load()
    assert torch.equal(tensors["w"], torch.arange(6.0).view(2, 3).T)
    assert (state["k"], step) == (0.5, 2)
    content = (tmp_path / file).read_bytes()
    if damage == "missing":
        (tmp_path / file).unlink()
        if file == "checkpoint.json":
            assert checkpoint.load() is None
            return
    elif damage == "truncated":
        (tmp_path / file).write_bytes(content[: len(content) // 2])
    else:
        (tmp_path / file).write_bytes(content.replace(b"2", b"3").replace(b"\x00\x80\x3f", b"\x00\x00\x40") + b" x")
    with pytest.raises(ValueError, match=f"{file} is missing, truncated or altered: delete the folder"):
        checkpoint.load()


def test_checkpoint_survives_a_kill_while_saving(tmp_path, monkeypatch):
    """The JSON file is written last: before it, the previous checkpoint still stands."""
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"w": torch.zeros(2)}, {"m": 1}, 1)
    import lib.training.loop.checkpoint as module

    def fail_on_json(file, content, write=module._write):
        if file.name == "checkpoint.json":
            raise OSError(28, "No space left on device")
        return write(file, content)

    monkeypatch.setattr(module, "_write", fail_on_json)
    for finished in (False, True):
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save({"w": torch.ones(2)}, {"m": 2}, 2, finished=finished)
        tensors, state, step = checkpoint.load()
        assert (tensors["w"].sum(), state, step) == (0, {"m": 1}, 1)


def test_settings_that_are_not_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a set, not JSON"):
        Checkpoint(tmp_path, {"a": {1, 2}})


def test_headless_progress_prints_one_line_each_tenth(capsys, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert list(progress("count", range(1000))) == list(range(1000))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("count  1000/1000")
    report = Progress("loss", 5)
    report(5, d=torch.tensor(0.25))
    assert capsys.readouterr().out.rstrip().endswith("d 0.25")


def test_progress_in_jupyterlab_rewrites_one_line(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    monkeypatch.setattr("IPython.display.display", lambda data, raw, display_id: Handle())
    list(progress("count", range(5000)))
    assert 1 <= len(shown) < 20
    assert shown[-1].startswith("count  5000/5000")
