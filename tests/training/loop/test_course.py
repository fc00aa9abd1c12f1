"""The course of a training: names, lines, facts, and what is said of a training that is reused."""

import torch

from lib.training.loop import course as courses
from lib.training.loop.course import Course, called, say_loaded
from lib.training.loop.curve import read_curve
from lib.training.loop.job_pool import run_ahead


def test_a_training_is_called_after_its_folder():
    assert called("DCGAN", "data/runs/demo-phantom/02_sun/01_train/repaired 3") == "01_train/repaired 3: DCGAN"
    assert called("DCGAN", None) == "DCGAN"


def test_the_facts_go_on_where_the_checkpoint_was(tmp_path, capsys):
    first = Course("GAN", total=4, path=tmp_path)
    for step in (1, 2):
        first.add(step, images=16, losses={"d": torch.tensor(0.5)})
        first.show(step, {"d": torch.tensor(0.5)})
    made = first.kept()
    assert made.keys() == {"unit", "seconds", "images", "images_per_second", "peak_memory_mb", "curve"}
    assert (made["unit"], made["images"]) == ("steps", 32)
    assert made["peak_memory_mb"] > 50
    again = Course("GAN", total=4, path=tmp_path, start=2, made=made | {"seconds": 100.0})
    for step in (3, 4):
        again.add(step, images=16, losses={"d": 0.25})
        again.show(step, {"d": 0.25})
    made = again.kept()
    assert made["images"] == 64
    assert 100 <= made["seconds"] < 160
    assert 0.4 <= made["images_per_second"] <= 0.64
    assert read_curve(tmp_path).steps.tolist() == [1, 2, 3, 4]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{tmp_path.parent.name}/{tmp_path.name}: GAN  4/4 steps  ")
    assert last.endswith("  d 0.25")
    assert " images/s" in last


def test_parts_of_an_epoch_are_shown_with_the_losses_of_the_one_before(capsys, monkeypatch):
    monkeypatch.setenv("SUITE_PROGRESS_SECONDS", "0")
    course = Course("classifier", total=2, unit="epochs")
    course.show_within(0.5, images=8)
    course.add(1, images=16, losses={"loss": 0.5})
    course.show(1, {"loss": 0.5})
    course.show_within(1.25, images=4)
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines] == ["0.5/2 epochs", "1/2 epochs", "1.2/2 epochs"]
    assert [line[-1] for line in lines[1:]] == ["loss 0.5", "loss 0.5"]


def test_what_is_reused_is_said_once_and_what_was_just_made_is_not(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(courses, "_BEGUN", 1_700_000_000)
    old, new = {"date": "2023-11-14 20:00:00+00:00"}, {"date": "2023-11-14 23:00:00+00:00"}
    for made in (old, old, new, {}, {"date": "yesterday"}):
        say_loaded(tmp_path, made, f"made on {made.get('date')}")
    assert capsys.readouterr().out.splitlines() == [
        f"loaded the finished training {tmp_path}, made on {date}" for date in (old["date"], None, "yesterday")
    ]


def test_what_is_said_names_no_folder_around_the_project(tmp_path, capsys, monkeypatch):
    """Executed notebooks are published."""
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    say_loaded(tmp_path / "data/runs/x/01_train/gan 0", {}, "made")
    assert capsys.readouterr().out == "loaded the finished training data/runs/x/01_train/gan 0, made\n"


def test_a_process_ahead_leaves_it_to_the_one_that_forked_it(tmp_path, capsys):
    run_ahead([lambda k=k: say_loaded(tmp_path, {}, f"made {k}") for k in range(2)], workers=2)
    assert capsys.readouterr().out == ""
