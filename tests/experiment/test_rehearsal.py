"""What a rehearsal cuts, and to what."""

import pytest

from lib.experiment.paper import load_paper
from lib.experiment.rehearsal import Rehearsal
from lib.experiment.run import Run
from tests.paths import ROOT

PUBLISHED = {"patients": [400, 8, 0], "walk": {"points": 50, "steps": 500}, "seeds": 5, "quantile": 1e-5, "size": 256}


def test_one_part_and_two_of_what_is_cut_and_the_rest_as_published():
    rehearsal = Rehearsal(
        parts=100,
        cut={"patients": 2, "walk.steps": 3},
        once=["seeds"],
        instead={"quantile": 0.01, "walk.points": 7},
    )
    one, two = (rehearsal.settings(PUBLISHED, number) for number in (1, 2))
    assert (one["patients"], two["patients"]) == ([4, 2, 0], [8, 4, 0])  # the least doubles as well; none stays none
    assert (one["walk"], two["walk"]) == ({"points": 7, "steps": 5}, {"points": 7, "steps": 10})
    assert (one["seeds"], one["quantile"], one["size"]) == (1, 0.01, 256)
    assert rehearsal.repetitions(PUBLISHED) == 5
    assert Rehearsal(once=["seeds", "size"]).repetitions(PUBLISHED) == 5 * 256


def test_nothing_exceeds_what_is_published():
    assert Rehearsal(parts=100, cut={"patients": 30}).settings(PUBLISHED, 2)["patients"] == [60, 8, 0]


def test_without_an_entry_nothing_is_cut():
    assert Rehearsal().settings(PUBLISHED, 1) == PUBLISHED


@pytest.mark.parametrize("entry", ["cut: {patient: 2}", "cut: {sizes.x: 2}", "once: [seeds]", "instead: {level: 1}"])
def test_a_setting_that_is_none_is_refused_where_it_stands(tmp_path, entry):
    (tmp_path / "paper.yaml").write_text(
        "title: A\ncite: B\ncohorts: {phantom: mass}\nnotebooks: {}\nsettings:\n  patients: [1, 2, 3]\n"
        f"  sizes: [{{}}, {{}}, {{}}]\nrehearsal: {{{entry}}}\n"
    )
    with pytest.raises(ValueError, match=r"paper\.yaml:8: rehearsal: no setting '\w+' to be cut: choose one of "):
        load_paper(tmp_path)


@pytest.mark.parametrize("paper", [path.parent.name for path in sorted((ROOT / "notebooks").glob("*/paper.yaml"))])
def test_a_rehearsed_run_has_a_folder_and_no_verdict_of_its_own(paper, monkeypatch):
    monkeypatch.setenv("SUITE_REHEARSAL", "2")
    run = Run(paper, "paper", "phantom", 0)
    assert run.is_smoke
    assert run.tag == "rehearsal2-phantom"
    assert vars(run.settings) == run.paper.rehearsal.settings(run.paper.published_settings, 2)
