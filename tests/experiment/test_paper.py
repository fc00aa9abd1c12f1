"""paper.yaml: what is wrong is named with file, line and key; what is right is kept."""

import json
import re
import textwrap

import pytest

from lib.core.paths import SCALES
from lib.experiment.paper import Settings, known_papers, load_paper
from tests.paths import ROOT

GOOD = """\
title: A paper
cite: Nobody 2020
cohorts: {phantom: mass, public: cbis_ddsm}
notebooks:
  01_train: []
  05_utility: [01_train]
settings:           # smoke demo paper
  image_size:       [16, 32, 128]   # spec §3
  epsilons:         [[1], [1, 6], [1, 6, 60]]
items:
  tab2: {notebook: 05_utility, shows: AUROC, published: {real: 0.778}, source: xlsx}
claims:
  C1: {kind: own, says: DP costs utility, notebook: 05_utility, value: difference, claimed: "> 0.03"}
deviations:
  - {where: training, what: logits, why: stable}
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        for name in ("01_train", "05_utility"):
            (tmp_path / f"{name}.ipynb").write_text("{}")
        (tmp_path / "paper.yaml").write_text(textwrap.dedent(text))
        return tmp_path

    return write


def test_columns_are_scales(written):
    paper = load_paper(written(GOOD))
    assert paper.column("demo") == {"image_size": 32, "epsilons": [1, 6]}
    assert paper.notebooks["05_utility"] == ["01_train"]
    assert paper.items["tab2"].published == {"real": 0.778}


def test_the_precision_asked_for_is_also_that_of_a_training_among_the_settings():
    assert Settings(precision="bf16").asked_precision == "bf16"
    assert Settings(dcgan={"steps": 8, "precision": "bf16"}, size=3).asked_precision == "bf16"
    assert Settings(dcgan={"steps": 8, "precision": "float32"}, size=3).asked_precision == "float32"
    assert "asked_precision" not in vars(Settings(size=3))


@pytest.mark.parametrize("name", known_papers())
def test_smoke_and_demo_ask_for_float32(name):
    """So that their values depend on no machine's bf16, whose verdict another machine would not give."""
    paper = load_paper(ROOT / "notebooks" / name)
    for scale in {"smoke", "demo"} & set(paper.scales):
        assert Settings(**paper.column(scale)).asked_precision == "float32", scale


@pytest.mark.parametrize(
    ("entry", "declares"),
    [
        ("items:\n  tab2: {notebook: 05_utility, shows: AUROC, published: null}", True),
        ('claims:\n  C1: {kind: own, says: a, notebook: 05_utility, value: b, claimed: "> 0"}', True),
        ("records:\n  05_utility/real: 1", True),
        ("items:\n  tab1: {notebook: 01_train, shows: AUROC, published: null}", False),
    ],
)
def test_a_notebook_declares_an_item_a_claim_or_a_record_or_nothing(written, entry, declares):
    paper = load_paper(written(GOOD[: GOOD.index("items:")] + entry))
    assert paper.declares("05_utility") == declares


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("title:", "titel:", r"paper\.yaml:1: "),
        ("[16, 32, 128]", "[16, 32]", r"paper\.yaml:8: settings\.image_size: 2 columns"),
        ("shows: AUROC", "show: AUROC", r"paper\.yaml:11: items\.tab2\.show"),
        ("tab2: {notebook: 05_utility", "tab2: {notebook: 06_other", r"paper\.yaml:11: .*unknown notebook '06_other'"),
        (", source: xlsx", "", r"paper\.yaml:11: items\.tab2: published values need a `source`"),
        ('"> 0.03"', "about 3", r"paper\.yaml:13: claims\.C1: claimed 'about 3'"),
        ("kind: own", "kind: ours", r"paper\.yaml:13: claims\.C1\.kind: "),
        ("[01_train]", "[01_trian]", r"paper\.yaml:6: notebooks\.05_utility: needs the unknown notebook '01_trian'"),
        (
            "  05_utility: [01_train]",
            "  05_utility: []\n  07_more: []",
            r"paper\.yaml:7: .*07_more\.ipynb does not exist",
        ),
        (
            "phantom: mass",
            "phantoms: mass",
            r"paper\.yaml:3: cohorts\.phantoms: unknown cohort; choose one of ph",
        ),
        (
            "phantom: mass",
            "phantom: lung",
            r"paper\.yaml:3: cohorts\.phantom: unknown phantom set 'lung'; choose one of ch",
        ),
        (
            "cbis_ddsm",
            "cbis",
            r"paper\.yaml:3: cohorts\.public: unknown public set 'cbis'; choose one of cbis_ddsm, bcdr",
        ),
        ("cbis_ddsm", "[bcdr, vindr]", r"paper\.yaml:3: cohorts\.public: unknown public set 'vindr'"),
        ("cbis_ddsm", "chexnet_predictions", r"paper\.yaml:3: .*unknown public set 'chexnet_predictions'"),
        (
            "cbis_ddsm",
            "{smoke: bcdr, demo: bcdr}",
            r"paper\.yaml:3: .*sets at smoke, demo; give them at each of smoke, demo",
        ),
        ("cbis_ddsm", "{smoke: bcdr, demo: [], paper: bcdr}", r"paper\.yaml:3: cohorts\.public: names no set"),
        ("cbis_ddsm", "null", r"paper\.yaml:3: cohorts\.public: names no set"),
        (
            "cite:",
            "closing: true\ncite:",
            r"paper\.yaml:4: cohorts\.phantom: a closing paper reads no images; give null",
        ),
        ("  epsilons:", "  image_size:", r"paper\.yaml:9: image_size: stands twice"),
        ("deviations:\n", "deviations:\n  - {where: x}\n", r"paper\.yaml:15: deviations\.0\.what"),
        ("why: stable", "why: stable, bears_on: [C9]", r"paper\.yaml:15: deviations\.0\.bears_on: no .* C9"),
        ("settings:", "settings: [", r"paper\.yaml:\d+: not YAML"),
    ],
)
def test_every_error_names_file_line_and_key(written, old, new, sentence):
    assert old in GOOD
    with pytest.raises(ValueError, match=sentence) as caught:
        load_paper(written(GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_an_entry_of_cohorts_names_one_set_or_several_and_may_depend_on_the_scale(written):
    paper = load_paper(written(GOOD.replace("cbis_ddsm", "{smoke: bcdr, demo: [mcgan], paper: [cbis_ddsm, bcdr]}")))
    assert [paper.sets("public", scale) for scale in paper.scales] == [("bcdr",), ("mcgan",), ("cbis_ddsm", "bcdr")]
    assert (paper.source("phantom", "demo"), paper.source("public", "paper")) == ("mass", "cbis_ddsm, bcdr")
    digests = {paper.settings_digest(scale, "public") for scale in paper.scales}
    assert len(digests) == 3
    closing = GOOD.replace("cohorts: {phantom: mass, public: cbis_ddsm}", "closing: true\ncohorts: {phantom: null}")
    paper = load_paper(written(closing))
    assert (paper.sets("phantom", "demo"), paper.source("phantom", "demo")) == ((), "all papers")
    assert paper.source("public", "demo") is None


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- a list\n"])
def test_a_file_without_keys_is_refused(written, text):
    with pytest.raises(ValueError, match=r"paper\.yaml: holds no keys"):
        load_paper(written(text))


def test_a_missing_paper_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such paper"):
        load_paper(tmp_path / "09_none")


STUDY = GOOD.replace("claims:", "study: true\nclaims:").replace(
    'claimed: "> 0.03"', 'claimed: "> 0", nulls: {noise: it shows nobody}'
)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (", nulls: {noise: it shows nobody}", "", "an effect without a null"),
        ("kind: own", "kind: paper", "the authors state it: say where"),
        ('"> 0", nulls: {noise: it shows nobody}', "within 0.1 of 0", "limits.yaml has none for"),
        ('"> 0"', "within 0.1 of 0", "has controls, and no nulls"),
        ('"> 0", nulls: {noise: it shows nobody}', "within 0 of 0", "a margin of 0"),
        ('"> 0"', '"> 0.2"', "no value without an effect"),
        ("it shows nobody", '" "', "the null 'noise' has no reason"),
        ("kind: own", "kind: own, published: unknown", "published is 'unknown'"),
        ("kind: own", "kind: own, published: true", "published is True"),
        ("kind: own", "kind: own, published: {}", "published is {}: give numbers"),
        ("kind: own", "kind: own, published: [null]", "give numbers, or null where none is known"),
        ("kind: own", "kind: own, published: see table 2", "give numbers, or null where none is known"),
        ("kind: own", "kind: own, published: [true]", "give numbers, or null where none is known"),
        ("kind: own", "kind: own, published: {AUROC: none}", "give numbers, or null where none is known"),
        ("noise: it shows", '"": it shows', "the null '' has no reason"),
        ('"> 0"', '"> 0\\n"', "is not of the form"),
        ("kind: own", "kind: paper, place: ' '", "the authors state it: say where"),
    ],
)
def test_a_study_declares_nulls_places_and_margins(written, monkeypatch, tmp_path, old, new, sentence):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    assert load_paper(written(STUDY)).study
    with pytest.raises(ValueError, match=rf"paper\.yaml:14: claims\.C1: .*{sentence}"):
        load_paper(written(STUDY.replace(old, new)))


def test_a_null_that_no_notebook_measures_is_refused_before_anything_is_trained(written, monkeypatch, tmp_path):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    folder = written(STUDY)
    notebook = load_paper(folder).claims["C1"].notebook
    cell = {"cell_type": "code", "source": ['nulls = {"noise": drawn}\n', "run.record(nulls)"]}
    (folder / f"{notebook}.ipynb").write_text(json.dumps({"cells": [cell]}))
    assert load_paper(folder).study
    (folder / "paper.yaml").write_text(STUDY.replace("{noise: it", "{means: it"))
    with pytest.raises(ValueError, match=rf"paper\.yaml:14: claims\.C1\.nulls\.means: {notebook}\.ipynb measures no"):
        load_paper(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"> 0", nulls: {noise: it shows nobody}', "within 0.2 of 0", "the margin is 0.2, "),
        ('"> 0"', '"> 0.2"', "the bound is 0.2, no value without an effect (0, .5, 1), "),
    ],
)
def test_a_margin_or_bound_is_that_of_the_limits_and_has_a_reason(written, monkeypatch, tmp_path, old, new, says):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    folder = written(STUDY.replace(old, new))
    limits = tmp_path / "notebooks" / "limits.yaml"
    limits.parent.mkdir()
    limits.write_text(f"{folder.name}/C1: {{limit: 0.2, reason: a fifth of the members}}\n")
    assert load_paper(folder).claims["C1"].claimed == new.strip('"')
    limits.write_text(f"{folder.name}/C1: {{limit: 0.7, reason: a fifth of the members}}\n")
    with pytest.raises(ValueError, match=re.escape(f"{says}and notebooks/limits.yaml says 0.7 for {folder.name}/C1")):
        load_paper(folder)
    for content in (f"{folder.name}/C1: {{limit: 0.2}}", "- 1", f"{folder.name}/C1: {{limit: 0.2, reason: so}}"):
        limits.write_text(content)
        with pytest.raises(ValueError, match=r"limits\.yaml:( |1: )"):
            load_paper(folder)


def test_only_a_claim_of_absence_has_a_margin(written):
    effect = load_paper(written(GOOD)).claims["C1"]
    assert effect.model_copy(update={"claimed": "within 0.1 of 0.5"}).margin == (0.4, 0.6)
    with pytest.raises(ValueError, match="has no margin"):
        _ = effect.margin


def test_a_claim_without_a_study_may_lack_them(written):
    assert not load_paper(written(GOOD)).study


def test_a_deviation_bears_on_what_needs_the_files_it_touches(written):
    more = """\
  - {where: nets, what: small, why: time, bears_on: [01_train]}
  - {where: test, what: more, why: better, bears_on: [C1]}
"""
    paper = load_paper(written(GOOD + more))
    on = {name: paper.deviations_on(name) for name in ("01_train", "05_utility", "tab2", "C1")}
    assert on == {"01_train": [1, 2], "05_utility": [1, 2], "tab2": [1, 2], "C1": [1, 2, 3]}


def test_a_study_is_a_column_between_demo_and_paper(written):
    at = "scales: [smoke, demo, study, paper]\n"
    four = GOOD.replace("[16, 32, 128]", "[16, 32, 64, 128]").replace("[1, 6, 60]]", "[6], [1, 6, 60]]")
    paper = load_paper(written(at + four))
    assert [paper.column(scale)["image_size"] for scale in SCALES] == [16, 32, 64, 128]
    with pytest.raises(
        ValueError, match="settings.image_size: 3 columns; give one for each of smoke, demo, study, paper"
    ):
        load_paper(written(at + GOOD))
    for scales in ("[demo, smoke, paper]", "[smoke, paper]", "[smoke, demo, night, paper]", "[demo, demo]"):
        with pytest.raises(ValueError, match=r"paper\.yaml:1: scales: give those of smoke, demo, study, paper"):
            load_paper(written(f"scales: {scales}\n{GOOD}"))


def test_settings_have_a_digest_of_their_own_scale(written):
    before = load_paper(written(GOOD))
    after = load_paper(written(GOOD.replace("[16, 32, 128]", "[16, 33, 128]").replace("says: DP", "says: It")))
    for scale, same in (("smoke", True), ("demo", False), ("paper", True)):
        assert (before.settings_digest(scale, "phantom") == after.settings_digest(scale, "phantom")) == same
    assert before.settings_digest("demo", "phantom") != before.settings_digest("demo", "public")
