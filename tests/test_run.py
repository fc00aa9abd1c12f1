"""Run: products carry their facts, unknown names raise, and nothing is half written."""

import io
import json
import os
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.core.paths import tag
from lib.experiment.paper import load_paper
from lib.experiment.run import Run
from lib.experiment.tables import typeset_table

PAPER = """\
title: A paper
cite: Nobody 2020
cohorts: {phantom: mass}
notebooks: {01_train: [], 05_utility: [01_train]}
settings: {image_size: [16, 32, 128]}
items:
  fig1: {notebook: 01_train, shows: a line, published: null}
  tab1: {notebook: 05_utility, shows: rows, published: {real: 0.8}, source: table 1}
claims:
  C1: {says: more is better, notebook: 05_utility, value: difference, threshold: ">= 0.1"}
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks" / "09_nobody"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text(PAPER)
    for name in ("01_train", "05_utility"):
        (folder / f"{name}.ipynb").write_text("{}")
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    return tmp_path


def draw():
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    plt.close(figure)
    return figure


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("08_other", "demo", "phantom", 0), "unknown paper '08_other': choose one of 09_nobody"),
        (("09_nobody", "tiny", "phantom", 0), "unknown scale 'tiny': choose one of smoke, demo, paper"),
        (("09_nobody", "demo", "private", 0), "unknown cohort 'private'"),
        (("09_nobody", "demo", "public", 0), "has no public cohort"),
        (("09_nobody", "demo", "phantom", -1), "seed -1"),
        (("09_nobody", "demo", "phantom", "0"), "seed '0'"),
    ],
)
def test_unknown_names_raise(suite, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Run(*arguments)


def test_settings_are_the_scale_and_an_unknown_setting_is_named(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    assert (run.settings.image_size, run.source) == (32, "mass")
    with pytest.raises(AttributeError, match="no setting 'epochs' in paper.yaml; known are image_size"):
        _ = run.settings.epochs


def test_a_missing_file_names_the_notebook_that_makes_it(suite):
    with pytest.raises(FileNotFoundError, match=r"run notebook 09_nobody/01_train first, or \./run_all\.sh demo"):
        Run("09_nobody", "demo", "phantom", 0).need("01_train/cohort.h5")


def test_runs_of_other_seeds_keep_apart(suite):
    paths = {Run("09_nobody", "demo", "phantom", seed).path("01_train/a") for seed in (0, 1)}
    assert len(paths) == 2
    assert tag("demo", "public", 3) == "demo-public-seed3"


def test_a_figure_carries_its_facts_and_embedded_fonts(suite):
    Run("09_nobody", "demo", "phantom", 2).figure("fig1", draw(), n=1104)
    folder = suite / "figures/demo-phantom-seed2/09_nobody"
    with Image.open(folder / "fig1.png") as png:
        facts = json.loads(png.info["Description"])
    assert (facts["scale"], facts["cohort"], facts["seed"], facts["n"]) == ("demo", "phantom", 2, "1,104")
    assert facts["revision"]
    assert facts["settings_sha256"] == load_paper(suite / "notebooks/09_nobody").settings_digest("demo", "phantom")
    pdf = (folder / "fig1.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert json.loads((folder / "fig1.json").read_text())["shows"] == "a line"


@pytest.mark.parametrize(("kind", "mode"), [("greys", "P"), ("colours", "P"), ("noise", "RGB")])
def test_a_png_has_few_colours_where_nobody_sees_it(suite, kind, mode):
    level, rng = np.linspace(0, 1, 200), np.random.default_rng(0)
    shown = {"greys": np.outer(level, level), "colours": np.outer(level, level), "noise": rng.random((200, 200, 3))}
    figure = plt.figure(figsize=(1, 1), dpi=300)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(shown[kind], cmap="viridis" if kind == "colours" else "gray", interpolation="nearest")
    ax.set_axis_off()
    plt.close(figure)
    Run("09_nobody", "demo", "phantom", 0).figure("fig1", figure, n=1)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=300)
    drawn = np.asarray(Image.open(whole).convert("RGB"), float)
    with Image.open(suite / "figures/demo-phantom/09_nobody/fig1.png") as png:
        error = np.abs(np.asarray(png.convert("RGB")) - drawn)
        assert (png.mode, png.info["Title"]) == (mode, "09_nobody fig1")
        assert abs(png.info["dpi"][0] - 300) < 0.1
    assert 10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)) >= 40
    assert error.max() <= (24 if mode == "P" else 0)


def test_the_stamp_says_that_no_patient_and_no_meaning_is_in_a_smoke_phantom(suite):
    figure = draw()
    Run("09_nobody", "smoke", "phantom", 0).figure("fig1", figure, n=3)
    stamp = figure.texts[-1].get_text()
    assert "these numbers mean nothing" in stamp
    assert "no patient" in stamp


def test_the_same_figure_is_the_same_file(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    files = []
    for _ in range(2):
        run.figure("fig1", draw(), n=3)
        files.append([(suite / f"figures/demo-phantom/09_nobody/fig1.{s}").read_bytes() for s in ("png", "pdf")])
    assert files[0] == files[1]


def test_a_notebook_shows_a_figure_once(suite, monkeypatch):
    """A figure that stays open is drawn again by the kernel, at the end of the cell."""
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure, _ = plt.subplots()
    returned = Run("09_nobody", "demo", "phantom", 0).figure("fig1", figure, n=3)
    assert returned is None
    assert not plt.fignum_exists(figure.number)
    (image,) = shown
    assert image.data == (suite / "figures/demo-phantom/09_nobody/fig1.png").read_bytes()
    assert image.alt == "a line"


def test_a_table_keeps_raw_numbers_and_typesets_booktabs(suite):
    frame = pd.DataFrame(
        {
            "condition": ["real & syn", "DP"],
            "auroc": [0.77812, 0.5],
            "auroc_low": [0.7, np.nan],
            "auroc_high": [0.8, np.nan],
        }
    )
    shown = Run("09_nobody", "demo", "phantom", 0).table("tab1", frame, n=402)
    folder = suite / "figures/demo-phantom/09_nobody"
    pd.testing.assert_frame_equal(pd.read_csv(folder / "tab1.csv"), frame)
    tex = (folder / "tab1.tex").read_text()
    assert r"\toprule" in tex
    assert r"real \& syn & 0.778 [0.700, 0.800]" in re.sub(r"\s+", " ", tex)
    assert shown["auroc"].tolist() == ["0.778 [0.700, 0.800]", "0.500"]
    assert json.loads((folder / "tab1.json").read_text())["published"] == {"real": 0.8}


def test_a_table_longer_than_a_page_breaks_over_pages(suite):
    run, tex = Run("09_nobody", "demo", "phantom", 0), suite / "figures/demo-phantom/09_nobody/tab1.tex"
    run.table("tab1", pd.DataFrame({"row": range(41)}), n=41)
    assert "needs \\usepackage{booktabs, longtable}" in tex.read_text()
    assert {r"\begin{longtable}{r}", r"\endhead", r"\end{longtable}"} <= set(tex.read_text().split("\n"))
    run.table("tab1", pd.DataFrame({"row": range(40)}), n=40)
    assert "needs \\usepackage{booktabs}" in tex.read_text()
    assert "longtable" not in tex.read_text()


def test_typesetting_counts_deviations_and_minus():
    frame = pd.DataFrame({"n": [1104.0, np.nan], "d": [-0.5, 2.0], "d_sd": [0.1, 0.25], "said": ["yes", None]})
    shown = typeset_table(frame, digits=2)
    assert shown.to_dict("list") == {"n": ["1,104", ""], "d": ["−0.50 ± 0.10", "2.00 ± 0.25"], "said": ["yes", ""]}


def test_a_replot_does_not_pass_for_a_result_of_this_run(suite):
    figure = draw()
    Run("09_nobody", "smoke", "phantom", 0).figure("fig1", figure, n="7 published bars", replot=True)
    (stamp,) = [text.get_text() for text in figure.texts]
    assert stamp.startswith("published numbers, plotted again; nothing of this run · n = 7 published bars")


def test_undeclared_items_and_claims_are_refused(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    with pytest.raises(ValueError, match="unknown item 'fig9': paper.yaml declares fig1, tab1"):
        run.figure("fig9", draw(), n=1)
    with pytest.raises(ValueError, match="unknown claim 'C9'"):
        run.claim("C9", value=1, interval=(0, 2), n="5 seeds")


def test_a_claim_is_recorded_with_its_interval(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    assert run.claim("C1", value=0.2, interval=(0.1, 0.3), n="5 seeds") == "reproduced"
    record = json.loads(run.path("claims/C1.json").read_text())
    assert (record["value"], record["interval"], record["threshold"]) == (0.2, [0.1, 0.3], ">= 0.1")
    assert record["settings_sha256"] == run.paper.settings_digest("demo", "phantom")
    for value, interval in ((float("nan"), (0, 1)), (2.0, (0, 1))):
        with pytest.raises(ValueError, match="must be finite and lie inside"):
            run.claim("C1", value=value, interval=interval, n="")


def test_the_claims_of_a_notebook_are_evaluated_together(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    notebook = run.paper.claims["C1"].notebook
    assert dict(run.verdicts(notebook, {"C1": (0.2, 0.1, 0.3, "5 seeds")}, why="")) == {"C1": "reproduced"}
    assert dict(run.verdicts(notebook, {}, why="no images")) == {"C1": "not testable here"}
    assert json.loads(run.path("claims/C1.json").read_text())["why"] == "no images"
    with pytest.raises(ValueError, match="does not declare C9"):
        run.verdicts(notebook, {"C9": (0.2, 0.1, 0.3, "")}, why="")


def test_a_smoke_run_judges_nothing(suite):
    run = Run("09_nobody", "smoke", "phantom", 0)
    assert run.claim("C1", value=0.2, interval=(0.1, 0.3), n="5 seeds") == "not testable here"


def test_check_says_what_does_not_hold(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    run.check("one is one", np.bool_(True))
    with pytest.raises(AssertionError, match="does not hold: one is two"):
        run.check("one is two", False)


def test_a_failed_write_names_the_file_and_keeps_the_old_one(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    run.figure("fig1", draw(), n=1)
    folder = suite / "figures/demo-phantom/09_nobody"
    before = (folder / "fig1.png").read_bytes()
    broken = draw()
    broken.savefig = lambda *_, **__: (_ for _ in ()).throw(OSError(28, os.strerror(28)))
    with pytest.raises(OSError, match=r"fig1\.png: could not be written \(No space left"):
        run.figure("fig1", broken, n=1)
    assert (folder / "fig1.png").read_bytes() == before
