"""Run: products carry their facts, unknown names raise, and nothing is half written."""

import io
import json
import os
import re
import signal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import plots
from lib.cohorts.cohort import Cohort
from lib.core import seeding
from lib.core.paths import tag
from lib.experiment.paper import load_paper
from lib.experiment.run import Run
from lib.statistics.repetitions import Repeated, prediction_interval

PAPER = """\
title: A paper
cite: Nobody 2020
cohorts:
  phantom: mass
  public: {smoke: bcdr, demo: [cbis_ddsm, bcdr], paper: [cbis_ddsm, bcdr]}
notebooks: {01_train: [], 05_utility: [01_train]}
settings: {image_size: [16, 32, 128], seeds: [1, 3, 101]}
items:
  fig1: {notebook: 01_train, shows: a line, published: null}
  tab1: {notebook: 05_utility, shows: rows, published: {real: 0.8}, source: table 1}
claims:
  C1: {kind: own, says: more is better, notebook: 05_utility, value: difference, claimed: "> 0"}
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
        (("09_nobody", "tiny", "phantom", 0), "unknown scale 'tiny': choose one of smoke, demo, study, paper"),
        (("09_nobody", "study", "phantom", 0), "09_nobody has no study yet: choose one of smoke, demo, paper"),
        (("09_nobody", "demo", "private", 0), "unknown cohort 'private'"),
        (("09_nobody", "demo", "phantom", -1), "seed -1"),
        (("09_nobody", "demo", "phantom", "0"), "seed '0'"),
        (("09_nobody", "demo", "phantom", True), "seed True"),
    ],
)
def test_unknown_names_raise(suite, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Run(*arguments)


def test_a_text_that_a_spreadsheet_executes_is_escaped_for_people_and_handed_over_as_it_is(suite):
    frame = pd.DataFrame({"file": ["=1+1.png", "-0.5", "+a"], "x": [-0.5, 1 / 3, -2]})
    run = Run("09_nobody", "demo", "phantom", 0)
    run.table("tab1", frame, n=3)
    read = (suite / "figures/demo-phantom/09_nobody/tab1.csv").read_text(encoding="utf-8")
    assert read == f"file,x\n'=1+1.png,-0.5\n-0.5,{1 / 3}\n'+a,-2.0\n"
    run.save("05_utility/files.csv", frame)
    pd.testing.assert_frame_equal(pd.read_csv(run.need("05_utility/files.csv")), frame)


def test_settings_are_the_scale_and_an_unknown_setting_is_named(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    assert (run.settings.image_size, run.source) == (32, "mass")
    with pytest.raises(AttributeError, match="no setting 'epochs' in paper.yaml; known are image_size, seeds"):
        _ = run.settings.epochs


def test_a_missing_file_names_the_notebook_that_makes_it(suite):
    with pytest.raises(FileNotFoundError, match=r"run notebook 09_nobody/01_train first, or \./run_all\.sh demo"):
        Run("09_nobody", "demo", "phantom", 0).need("01_train/cohort.h5")


def test_a_paper_without_the_cohort_says_so(suite):
    paper = suite / "notebooks/09_nobody/paper.yaml"
    paper.write_text(re.sub(r"  public: .*\n", "", PAPER))
    with pytest.raises(ValueError, match="09_nobody has no public cohort: choose one of phantom"):
        Run("09_nobody", "demo", "public", 0)


def test_runs_of_other_seeds_keep_apart(suite):
    paths = {Run("09_nobody", "demo", "phantom", seed).path("01_train/a") for seed in (0, 1)}
    assert len(paths) == 2
    assert tag("demo", "public", 3) == "demo-public-seed3"


@pytest.mark.slow
def test_a_figure_carries_its_facts_and_embedded_fonts(suite):
    Run("09_nobody", "demo", "phantom", 2).figure("fig1", draw(), n=1104)
    folder = suite / "figures/demo-phantom-seed2/09_nobody"
    with Image.open(folder / "fig1.png") as png:
        facts = json.loads(png.info["Description"])
    assert (facts["scale"], facts["cohort"], facts["seed"], facts["n"]) == ("demo", "phantom", 2, "1,104")
    assert facts["revision"]
    assert facts["arithmetic"] == seeding.arithmetic_here()
    assert facts["settings_sha256"] == load_paper(suite / "notebooks/09_nobody").settings_digest("demo", "phantom")
    pdf = (folder / "fig1.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert json.loads((folder / "fig1.json").read_text())["shows"] == "a line"


@pytest.mark.slow
def test_titles_of_images_beside_a_chart_lie_within_the_figure(suite):
    figure, axes = plots.canvas(width="page", height=42, mosaic=[["losses", "left", "right"]])
    axes["losses"].plot([0, 1])
    axes["losses"].set(xlabel="steps", ylabel="loss")
    for side in ("left", "right"):
        plots.image_grid(axes[side], np.zeros((8, 64, 64)), columns=4).set_title("drawn from the same noise")
    Run("09_nobody", "demo", "phantom", 0).figure("fig1", figure, n=1)
    with Image.open(suite / "figures/demo-phantom/09_nobody/fig1.png") as png:
        assert (np.asarray(png.convert("L"))[:3] == 255).all()  # no letter touches the edge


@pytest.mark.slow
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
    assert stamp.endswith(f" · {seeding.arithmetic_here()}")


@pytest.mark.slow
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


def test_a_table_that_cannot_be_typeset_leaves_nothing(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    with pytest.raises(ValueError, match="is not known to LaTeX"):
        run.table("tab1", pd.DataFrame({"row": ["\N{SNOWMAN}"]}), n=1)
    assert not list((suite / "figures").rglob("tab1.*"))


def test_a_table_longer_than_a_page_breaks_over_pages(suite):
    run, tex = Run("09_nobody", "demo", "phantom", 0), suite / "figures/demo-phantom/09_nobody/tab1.tex"
    run.table("tab1", pd.DataFrame({"row": range(41)}), n=41)
    assert "needs \\usepackage{booktabs, longtable}" in tex.read_text()
    assert {r"\begin{longtable}{r}", r"\endhead", r"\end{longtable}"} <= set(tex.read_text().split("\n"))
    run.table("tab1", pd.DataFrame({"row": range(40)}), n=40)
    assert "needs \\usepackage{booktabs}" in tex.read_text()
    assert "longtable" not in tex.read_text()


def test_a_replot_does_not_pass_for_a_result_of_this_run(suite):
    figure = draw()
    Run("09_nobody", "smoke", "phantom", 0).figure("fig1", figure, n="7 published bars", replot=True)
    (stamp,) = [text.get_text() for text in figure.texts]
    assert stamp.startswith("published numbers, plotted again; nothing of this run · n = 7 published bars")


def test_what_no_notebook_makes_is_not_needed(suite):
    with pytest.raises(ValueError, match="09_nobody has no notebook 'nonsense', but 01_train, 05_utility"):
        Run("09_nobody", "demo", "phantom", 0).need("nonsense/x.csv")
    assert not (suite / "data/runs/demo-phantom/09_nobody/nonsense").exists()


def test_undeclared_items_and_claims_are_refused(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    with pytest.raises(ValueError, match="unknown item 'fig9': paper.yaml declares fig1, tab1"):
        run.figure("fig9", draw(), n=1)
    with pytest.raises(ValueError, match="unknown claim 'C9'"):
        run.claim("C9", value=1, interval=(0, 2), n="5 seeds")


def test_a_claim_is_recorded_with_its_interval(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    assert run.claim("C1", value=0.2, interval=(0.1, 0.3), n="5 seeds") == "pending"
    record = json.loads(run.path("claims/C1.json").read_text())
    assert (record["value"], record["interval"], record["claimed"]) == (0.2, [0.1, 0.3], "> 0")
    assert record["settings_sha256"] == run.paper.settings_digest("demo", "phantom")
    for value, interval in ((float("nan"), (0, 1)), (2.0, (0, 1))):
        with pytest.raises(ValueError, match="must be finite and lie inside"):
            run.claim("C1", value=value, interval=interval, n="")


def test_the_claims_of_a_notebook_are_evaluated_together(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    notebook = run.paper.claims["C1"].notebook
    assert dict(run.verdicts(notebook, {"C1": (0.2, 0.1, 0.3, "5 seeds")}, why="")) == {"C1": "pending"}
    assert dict(run.verdicts(notebook, {}, why="no images")) == {"C1": "not testable here"}
    assert json.loads(run.path("claims/C1.json").read_text())["why"] == "no images"
    with pytest.raises(ValueError, match="does not declare C9"):
        run.verdicts(notebook, {"C9": (0.2, 0.1, 0.3, "")}, why="")


STUDIED = """
study: true
claims:
  E1: {kind: own, says: it helps, notebook: 05_utility, value: gain, claimed: "> 0", generator: true,
       published: 0.2, nulls: {noise: it shows nobody at all}}
  A1: {kind: own, says: nothing leaks, notebook: 05_utility, value: share, claimed: within 0.04 of 0.01,
       generator: true}
  P1: {kind: precondition, says: it works, notebook: 05_utility, value: AUROC, claimed: "> 0.5"}
"""
GAIN, NOISE = Repeated([0.15, 0.25, 0.18, 0.22, 0.2]), Repeated([0.01, -0.01, 0.0, 0.02, -0.02])


@pytest.fixture
def studied(suite):
    paper = suite / "notebooks/09_nobody/paper.yaml"
    paper.write_text(PAPER[: PAPER.index("claims:")] + STUDIED)
    reason = "reason: a tenth of the members is .1"
    (suite / "notebooks/limits.yaml").write_text(f"09_nobody/A1: {{limit: 0.04, {reason}}}")
    return Run("09_nobody", "demo", "phantom", 0)


def recorded(run, name):
    return json.loads(run.path(f"claims/{name}.json").read_text())


def test_values_of_repetitions_are_recorded_with_nulls_and_verdict(studied):
    assert studied.record("E1", GAIN, nulls={"noise": NOISE}, shortfalls=[]) == "replicated"
    found = recorded(studied, "E1")
    assert found["repetitions"] == GAIN.values.tolist()
    assert found["others"] == {"noise": NOISE.values.tolist()}
    assert found["interval"] == list(GAIN.estimate().interval())
    assert found["differences"]["noise"][0] == pytest.approx(0.2)
    assert found["prediction"] == list(prediction_interval(GAIN.values))
    assert (found["p"], found["null"]) == ((GAIN - NOISE).estimate().p_above(0), "noise")
    assert found["sources"] == ["training", "patients"]


def test_an_unfaithful_generator_a_null_and_few_repetitions_give_nothing_better(studied, suite):
    record = studied.record
    assert record("E1", GAIN, nulls={"noise": NOISE}, shortfalls=["coverage 0.1"]) == "not testable here"
    assert recorded(studied, "E1")["why"] == "the generator is not faithful: coverage 0.1"
    assert record("E1", GAIN, nulls={"noise": GAIN}, shortfalls=[]) == "not discriminating"
    assert record("E1", GAIN, nulls={"noise": NOISE}, shortfalls=None) == "replicated"  # without a gate
    with pytest.raises(ValueError, match="about a generator: say its shortfalls="):
        record("E1", GAIN, nulls={"noise": NOISE})
    assert record("P1", Repeated([0.8, 0.9, 0.85, 0.8, 0.9])) == "pending"
    assert recorded(studied, "P1")["why"] == "a verdict needs 10 repetitions"
    assert record("P1", Repeated([0.8, 0.9, 0.85, 0.8, 0.9] * 2), shortfalls=["coverage 0.1"]) == "replicated"
    few = Repeated(GAIN.values[:1]), {"noise": Repeated(NOISE.values[:1])}
    assert record("E1", few[0], nulls=few[1], shortfalls=[]) == "pending"
    assert (recorded(studied, "E1")["value"], recorded(studied, "E1")["interval"]) == (0.15, None)
    assert (
        Run("09_nobody", "smoke", "phantom", 0).record("E1", GAIN, nulls={"noise": NOISE}, shortfalls=[])
        == "not testable here"
    )


def test_silence_is_recorded_with_the_leaks_that_were_seen(studied):
    quiet, loud = Repeated([0.01, 0.012, 0.008, 0.01, 0.011]), Repeated([0.11, 0.1, 0.105, 0.1, 0.11])

    def record(values, shortfalls=(), **leaks):
        leaks = {0.1: loud} | {float(share): of for share, of in leaks.pop("leaks", {}).items()}
        return studied.record("A1", values, disjoint=quiet, leaks=leaks, shortfalls=shortfalls)

    assert record(quiet) == "replicated"
    assert set(recorded(studied, "A1")["others"]) == {"disjoint patients", "leak of 10%"}
    assert record(loud) == "contradicted"
    assert record(quiet, leaks={0.1: quiet, 0.2: loud}) == "not testable here"
    assert recorded(studied, "A1")["why"] == "sees leaks above 20%"
    assert record(quiet, shortfalls=["coverage 0.1"]) == "not testable here"
    assert record(quiet, shortfalls=None) == "not testable here"
    assert recorded(studied, "A1")["why"] == "without a gate silence says nothing: noise leaks nobody"


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("E1", {}, r"nulls \[\] are given, and paper\.yaml declares \['noise'\]"),
        ("E1", {"nulls": {"means": NOISE}}, "nulls"),
        ("E1", {"nulls": {"noise": Repeated([0.1, 0.2])}}, "noise has 2 repetitions, the claim 5"),
        ("E1", {"nulls": {"noise": Repeated([0.1, 0.2, np.nan, 0, 0])}}, "noise has no finite value in repetition 2"),
        ("E1", {"nulls": {"noise": None}}, "noise is NoneType: give a Repeated"),
        ("E1", {"nulls": {"noise": NOISE}, "disjoint": NOISE}, "no disjoint= or leaks="),
        ("A1", {"nulls": {"noise": NOISE}}, "and no nulls="),
        ("A1", {}, "disjoint patients and on a leak of 10%"),
        ("A1", {"disjoint": NOISE}, "disjoint patients and on a leak of 10%"),
        ("A1", {"disjoint": NOISE, "leaks": {0.2: NOISE}}, "disjoint patients and on a leak of 10%"),
        ("E1", {"nulls": {"noise": Repeated(NOISE.values, draws=np.ones((5, 3)), patients=9)}}, "resampled alike"),
        ("A1", {"disjoint": NOISE, "leaks": {0.1: Repeated([0.1])}}, "leak of 10% has 1 repetitions"),
        ("E1", {"nulls": {"noise": NOISE}, "shortfalls": ""}, "shortfalls= is '': give a list of reasons"),
        ("E1", {"nulls": {"noise": NOISE}, "shortfalls": False}, "shortfalls= is False: give a list of reasons"),
        ("E1", {"nulls": {"noise": NOISE}, "shortfalls": [np.nan]}, r"shortfalls= is \[nan\]: give a list of reasons"),
        ("A1", {"disjoint": NOISE, "leaks": {0.1: NOISE, 10: NOISE}}, "a leak of 10: give shares of the members"),
        ("C9", {}, "unknown claim 'C9'"),
    ],
)
def test_a_claim_without_its_nulls_or_controls_is_refused(studied, name, more, says):
    with pytest.raises(ValueError, match=says) as refused:
        studied.record(name, GAIN, **more)
    if name != "C9":
        assert re.match(rf".*/09_nobody/paper\.yaml:\d+: claim {name}", str(refused.value))


def test_a_study_records_repetitions_and_others_single_values(studied, suite):
    with pytest.raises(ValueError, match="has a study, so record its values in every repetition"):
        studied.claim("P1", value=0.9, interval=(0.8, 1.0), n="5 seeds")
    (suite / "notebooks/09_nobody/paper.yaml").write_text(PAPER)
    with pytest.raises(ValueError, match="has no study yet"):
        Run("09_nobody", "demo", "phantom", 0).record("C1", GAIN)


def test_a_smoke_run_gives_no_verdict(suite):
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


def small_cohort(name="bcdr", n=6):
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 4), dtype=np.uint8)
    return Cohort(images, np.arange(n), np.arange(n) % 2, np.zeros(n), name=name, label_names=("no", "yes"))


def test_what_is_saved_reads_back(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    frame = pd.DataFrame({"name": ["a, b", "c"], "value": [0.1, np.nan]})
    by_name = frame.set_index("name")
    arrays = {"a/b": np.arange(3), "c": np.eye(2, dtype=np.float32), "file": np.array(["text"])}
    cohort = small_cohort()
    for name, content in (("frame.csv", frame), ("by name.csv", by_name), ("a.npz", arrays), ("c.h5", cohort)):
        assert run.save(f"01_train/{name}", content) is None
    pd.testing.assert_frame_equal(pd.read_csv(run.need("01_train/frame.csv")), frame)
    pd.testing.assert_frame_equal(pd.read_csv(run.need("01_train/by name.csv"), index_col=0), by_name)
    with np.load(run.need("01_train/a.npz")) as read:
        assert sorted(read.files) == ["a/b", "c", "file"]
        assert read["file"].tolist() == ["text"]
        np.testing.assert_array_equal(read["a/b"], arrays["a/b"])
        assert read["c"].dtype == np.float32
    assert Cohort.open(run.need("01_train/c.h5")).digest == cohort.digest
    assert len(list(run.path("01_train/x").parent.iterdir())) == 4  # nothing besides


@pytest.mark.parametrize("name", ["../x", "01_train/../../x", "/tmp/x"])
def test_a_name_that_leads_out_of_the_run_is_refused(suite, name):
    run = Run("09_nobody", "demo", "phantom", 0)
    for use in (run.path, run.need, lambda name: run.save(f"{name}.csv", pd.DataFrame())):
        with pytest.raises(ValueError, match="leads out of the run's folder"):
            use(name)


def test_arrays_are_saved_as_numpy_saves_them(suite):
    run = Run("09_nobody", "demo", "phantom", 0)
    arrays = {"a/b": np.arange(3), "c": np.asfortranarray(np.eye(2)), "text": np.array(["é"])}
    run.save("01_train/a.npz", arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    assert run.need("01_train/a.npz").read_bytes() == buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "error", "sentence"),
    [
        ("a.npz", pd.DataFrame({"x": [1]}), ValueError, "a.npz: a DataFrame is saved as .csv; name the file so"),
        ("a.csv", {"x": np.ones(1)}, ValueError, "a.csv: a dict is saved as .npz"),
        ("a", small_cohort(), ValueError, "a: a Cohort is saved as .h5"),
        ("a.npz", np.ones(1), TypeError, "cannot save a ndarray; give a data frame, a cohort or a mapping of arrays"),
        (
            "a.npz",
            {"x": np.array([{}])},
            TypeError,
            "a.npz: 'x' is an array of objects; give one of numbers or of text",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused_in_one_sentence(suite, name, content, error, sentence):
    run = Run("09_nobody", "demo", "phantom", 0)
    with pytest.raises(error, match=re.escape(sentence)) as caught:
        run.save(f"01_train/{name}", content)
    assert "\n" not in str(caught.value)
    assert not run.path(f"01_train/{name}").exists()


# The content kills its writer when a part of it is on the disk already; `part` is that part alone, and can be saved.
KILLED = """
import os, signal, sys
import numpy as np, pandas as pd
from lib import plots
from lib.cohorts.cohort import Cohort
from lib.experiment.run import Run
from lib.statistics.repetitions import Repeated, prediction_interval

class Deadly:
    def __str__(self):
        os.kill(os.getpid(), signal.SIGKILL)
    def __array__(self, dtype=None, copy=None):
        os.kill(os.getpid(), signal.SIGKILL)

class DeadlyRows:
    shape, dtype, ndim = (2000, 8, 8), np.dtype("uint8"), 3
    def __len__(self):
        return 2000
    def __getitem__(self, rows):
        if rows.start > 1000:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.random.default_rng(0).integers(0, 256, (rows.stop - rows.start, 8, 8), dtype=np.uint8)

rows = np.arange(2000)
cohort = Cohort(DeadlyRows(), rows, rows * 0, rows * 0, name="deadly", label_names=("all",))
content = {
    "csv": pd.DataFrame({"x": [*range(200_000), Deadly()]}),
    "npz": {"first": np.random.default_rng(0).random(100_000), "second": Deadly()},
    "h5": cohort,
}
Run("09_nobody", "demo", "phantom", 0).save(f"01_train/x.{sys.argv[1]}", content[sys.argv[1]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "npz", "h5"])
def test_a_killed_writer_leaves_no_file_that_need_takes_for_a_finished_one(suite, preloaded, ending):
    run = Run("09_nobody", "demo", "phantom", 0)

    def kill_a_writer():
        killed = preloaded.run(KILLED, ending)
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    kill_a_writer()
    halves = [path for path in run.path("01_train/x").parent.iterdir() if path.stat().st_size]
    assert [path.name.startswith(".x.") for path in halves] == [True]  # it had begun to write
    with pytest.raises(FileNotFoundError, match=f"x.{ending} is missing"):
        run.need(f"01_train/x.{ending}")
    whole = {"csv": pd.DataFrame({"x": [1]}), "npz": {"x": np.ones(1)}, "h5": small_cohort()}[ending]
    run.save(f"01_train/x.{ending}", whole)
    before = run.need(f"01_train/x.{ending}").read_bytes()
    kill_a_writer()
    assert run.need(f"01_train/x.{ending}").read_bytes() == before  # the old file stays whole


def test_the_public_cohort_of_paper_yaml_is_opened(suite):
    made = small_cohort()
    made.save(suite / "data/cohorts/bcdr.h5")
    smoke, demo = (Run("09_nobody", scale, "public", 0) for scale in ("smoke", "demo"))
    assert (smoke.sets, smoke.source, demo.source) == (("bcdr",), "bcdr", "cbis_ddsm, bcdr")
    assert smoke.open_cohort().digest == smoke.open_cohort("bcdr").digest == demo.open_cohort("bcdr").digest
    assert smoke.open_cohort().digest == made.digest


@pytest.mark.parametrize(
    ("scale", "cohort", "name", "error", "sentence"),
    [
        ("smoke", "public", "cbis_ddsm", ValueError, "no public cohort 'cbis_ddsm' at smoke: choose one of bcdr"),
        ("demo", "public", None, ValueError, "has several public cohorts: choose one of cbis_ddsm, bcdr"),
        ("demo", "public", "mcgan", ValueError, "no public cohort 'mcgan' at demo: choose one of cbis_ddsm, bcdr"),
        (
            "demo",
            "phantom",
            None,
            ValueError,
            "cohort phantom (mass) is not opened from a file: only public cohorts are",
        ),
        ("smoke", "public", None, FileNotFoundError, "run `python -m lib.cohorts prepare cbis_ddsm`"),
    ],
)
def test_a_cohort_that_cannot_be_opened_is_one_sentence(suite, scale, cohort, name, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)) as caught:
        Run("09_nobody", scale, cohort, 0).open_cohort(name)
    assert "\n" not in str(caught.value)


def test_no_two_runs_share_a_seed(suite):
    seeds = [Run("09_nobody", "demo", "phantom", seed).seeds for seed in range(4)]
    assert seeds[:3] == [[0, 1, 2], [100, 101, 102], [200, 201, 202]]
    assert len({seed for of in seeds for seed in of}) == 12
    with pytest.raises(ValueError, match="101 repetitions: give 100 at most"):
        _ = Run("09_nobody", "paper", "phantom", 0).seeds
