"""What an audit says, its page and record, and where the products of a user's own run go."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lib.audit.disguises import DECLARED
from lib.audit.report import BANNER, write_record, write_report
from lib.audit.same_patient import FLAGGED, NOT_FLAGGED, cannot_say
from lib.audit.verdict import ANSWERS, LIMITS, verdict
from lib.experiment.run import Run

GOOD = {
    "pvalue": 0.4, "level": 0.05, "exact": {"train": 0, "heldout": 0}, "pairs": {"train": 0, "heldout": 0},
    "certain": 0, "doubles": {"merged": 0, "trained on": 0}, "unseen": {}, "injected": "2 %", "smallest_seen": 0.01,
    "population_pvalue": 0.5, "counts": {"train": 1104, "heldout": 402, "synthetic": 3000},
    "there": {"train": 1104, "heldout": 402, "synthetic": 3000},
    "positive_control_flagged": True, "negative_control_flagged": False,
    "alarms": (8, 200), "without_patient": 0, "same_patient": cannot_say("fewer than 20 patients"),
}  # fmt: skip
SHOWN, NOT_SHOWN = (
    GOOD["same_patient"]._replace(answer=answer, says=says)
    for answer, says in ((FLAGGED, "they show training patients"), (NOT_FLAGGED, "5 % in 45 % of trials"))
)


MANY = GOOD["there"] | {"train": 100_000, "synthetic": 9000}


def _exact(**counts):
    return GOOD["exact"] | counts


@pytest.mark.parametrize(
    ("changed", "answer", "sentence"),
    [
        ({}, "no copies found", "2 % of copies in any declared disguise (re-encoded, resampled"),
        ({}, "no copies found", "and 1 % of copies in all of them mixed"),
        ({"has_heldout": False}, "no copies found", "only a synthetic image that stands out by itself is seen"),
        ({"has_heldout": False}, "no copies found", "1,104 training, no held-out and 3,000 synthetic"),
        ({"has_heldout": False, "pvalue": 0.01}, "cannot tell", "nobody can say how close a generator comes"),
        ({"has_heldout": False, "pvalue": 0.001, "certain": 2}, "leak flagged", "Certain by themselves"),
        ({"has_heldout": False, "exact": {"train": 1}}, "leak flagged", "1 of 3,000 synthetic images is identical"),
        (
            {"smallest_seen": 1.0, "unseen": {"negative": 0.5}},
            "cannot tell",
            "2 % of the images copies in one of these",
        ),
        ({"unseen": {"cropped to 90 %": 0.85}}, "cannot tell", "might not be seen: cropped to 90 % (85 % of runs)"),
        ({"unseen": {"negative": 0.0}, "pvalue": 0.01}, "leak flagged", "more closely than chance allows"),
        ({}, "no copies found", "1,104 training, 402 held-out and 3,000 synthetic"),
        ({}, "no copies found", "200 null splits of your own real images 8 were flagged; at 0.05 about 10"),
        (
            {"pvalue": 0.05, "pairs": {"train": 9, "heldout": 3}},
            "leak flagged",
            "12 matches are too close by themselves",
        ),
        (
            {"pvalue": 0.05, "pairs": {"train": 1, "heldout": 0}},
            "leak flagged",
            "1 match is too close by itself; look at this pair first",
        ),
        ({"pvalue": 0.05}, "leak flagged", "No match is too close by itself"),
        ({"exact": _exact(train=7)}, "leak flagged", "7 of 3,000 synthetic images are identical to a training image"),
        ({"exact": _exact(train=1)}, "leak flagged", "1 of 3,000 synthetic images is identical to a training image"),
        ({"exact": _exact(train=3000)}, "leak flagged", "this is training data. Do not share it"),
        ({"exact": _exact(heldout=7)}, "leak flagged", "7 of 3,000 synthetic images are identical to a held-out image"),
        ({"exact": _exact(heldout=3000)}, "leak flagged", "image of a real patient, whether trained on or not. Do not"),
        (
            {"exact": _exact(heldout=1), "negative_control_flagged": True},
            "leak flagged",
            "identical to a held-out image",
        ),
        (
            {"pvalue": 0.01, "pairs": {"train": 0, "heldout": 3}},
            "leak flagged",
            "Copies of held-out images, as it seems: 3 synthetic images. So the held-out images seem",
        ),
        (
            {"pvalue": 0.01, "certain": 12, "population_pvalue": 0.001, "negative_control_flagged": True},
            "leak flagged",
            "Certain by themselves, whatever is said against this audit below: 12 pairs",
        ),
        (
            {"doubles": {"merged": 4, "trained on": 0}},
            "no copies found",
            "Merged with a near-double, as of a file stored twice: 4 real images",
        ),
        (
            {"doubles": {"merged": 0, "trained on": 1}},
            "no copies found",
            "is among the training images: 1 held-out image.",
        ),
        ({"smallest_seen": None}, "cannot tell", "Even a set of copies alone was not flagged"),
        ({"smallest_seen": None, "pvalue": 0.01}, "cannot tell", "more closely than chance allows"),
        ({"pvalue": 0.01, "negative_control_flagged": True, "alarms": (120, 200)}, "cannot tell", "not to be trusted"),
        ({"pvalue": 0.01, "positive_control_flagged": False}, "cannot tell", "this audit is blind"),
        ({"positive_control_flagged": False}, "cannot tell", "this audit is blind"),
        ({"negative_control_flagged": True}, "cannot tell", "they resemble real images as copies do"),
        ({"alarms": (40, 200)}, "cannot tell", "at 0.05 about 10 are expected. That is more than chance explains"),
        ({"alarms": (1, 200)}, "no copies found", "real images 1 was flagged"),
        ({"population_pvalue": 0.001}, "cannot tell", "Training and held-out images keep to their own side"),
        ({"population_pvalue": 0.001, "pvalue": 0.01}, "cannot tell", "not random parts of one group"),
        (
            {"population_pvalue": 0.001, "without_patient": 300},
            "cannot tell",
            "Or images whose patient is not known (300) are of the same patients: name them, by --patients",
        ),
        ({"there": MANY}, "no copies found", "Only 1,104 of 100,000 training images were looked at"),
        ({}, "no copies found", "cannot be said: fewer than 20 patients"),
        ({"same_patient": NOT_SHOWN}, "no copies found", "5 % in 45 % of trials"),
        ({"same_patient": NOT_SHOWN, "smallest_seen": None}, "cannot tell", "5 % in 45 % of trials"),
        ({"same_patient": NOT_SHOWN, "pvalue": 0.01}, "leak flagged", "more closely than chance allows"),
        ({"same_patient": SHOWN}, "leak flagged", "they show training patients"),
        ({"same_patient": SHOWN, "smallest_seen": None}, "leak flagged", "Even a set of copies alone was not flagged"),
        ({"same_patient": SHOWN, "population_pvalue": 0.001}, "cannot tell", "keep to their own side"),
        ({"there": MANY, "pvalue": 0.01}, "leak flagged", "of the rest, no copy would be seen"),
        ({"there": MANY}, "no copies found", "Only 3,000 of 9,000 synthetic images were looked at: the rest may hold"),
    ],
)
def test_a_verdict_follows_its_numbers(changed, answer, sentence):
    found = verdict(**(GOOD | changed))
    assert found.answer == answer
    assert answer in ANSWERS
    assert any(sentence in says for says in found.because)
    assert all(limit in found._repr_markdown_() for limit in LIMITS)
    assert found.table().iloc[0].tolist() == ["verdict", answer]


def test_the_page_needs_nothing_besides_itself(tmp_path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    sections = [("A <figure>", figure), ("A table", pd.DataFrame({"file": ["<b>x</b>.png"], "p": [None]}))]
    path = write_report(
        tmp_path / "r.html", title="Audit", facts={"n": "n & m"}, verdict=verdict(**GOOD), sections=sections
    )
    page = path.read_text(encoding="utf-8")
    assert "no copies found" in page
    assert "&lt;b&gt;x" in page
    assert "<b>x" not in page
    assert "data:image/png;base64," in page
    assert not re.search(r"(src|href)=\"?(https?:|/)", page)


def test_the_verdict_binds_itself_to_every_declared_disguise():
    says = " ".join(verdict(**GOOD).because)
    assert all(name in says for name in DECLARED)


def test_the_banner_stands_before_the_answer(tmp_path):
    about = {"title": "Audit", "facts": {}, "verdict": verdict(**GOOD), "sections": []}
    page = write_report(tmp_path / "r.html", **about, banner=BANNER).read_text(encoding="utf-8")
    assert page.index("embeds images of real patients") < page.index("class=answer")
    assert "embeds images" not in write_report(tmp_path / "r.html", **about).read_text(encoding="utf-8")


def test_the_record_is_json_that_every_program_takes(tmp_path):
    record = {"table": pd.DataFrame({"p": [0.5, np.nan], "n": [1, 2]}), "k": (np.int64(3), np.float32(0.5)), "s": "é"}
    path = write_record(tmp_path / "r.json", record)
    read = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    assert read == {"table": [{"p": 0.5, "n": 1}, {"p": None, "n": 2}], "k": [3, 0.5], "s": "é"}


def test_a_script_in_a_table_of_patients_never_runs(tmp_path):
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    table = pd.DataFrame({attack: [attack], "p": [0.5]})
    shown = {"title": attack, "facts": {attack: attack}, "verdict": verdict(**GOOD), "sections": [(attack, table)]}
    page = write_report(tmp_path / "r.html", **shown).read_text(encoding="utf-8")
    assert page.count("&lt;script&gt;") == 7  # title, heading, fact and its name, heading of the table, column, cell
    assert not re.search(r"<script|<img|<[^>]* on\w+=", page)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    assert page.index(f'<meta http-equiv="Content-Security-Policy" content="{policy}">') < page.index("<style")


def test_a_users_run_touches_no_product_of_the_cohort(tmp_path, monkeypatch):
    example = Run("audit", "smoke", "phantom", 0)
    own = example.on_own_images("12ab")
    assert own.tag == "own-smoke-12ab"
    assert (example.tag, example.cohort) == ("smoke-phantom", "phantom")
    monkeypatch.setattr("lib.experiment.run.root", lambda: tmp_path)
    own.table("tab_pairs", pd.DataFrame({"rank": [1]}), n=1)
    own.figure("fig_pairs", Figure(), n=1)
    made = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {("figures", "own-smoke-12ab")}
    text = (tmp_path / "figures/own-smoke-12ab/audit/fig_pairs.json").read_text()
    assert '"cohort": "own"' in text
