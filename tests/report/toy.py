"""A run of three papers that nobody wrote, and its page as an HTML parser sees it."""

import base64
import json
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas as pd

from lib.experiment.run import Run
from lib.report import scorecard
from lib.report.records import read_run
from lib.statistics.repetitions import Repeated

NASTY = "<script>alert('x')</script> & \"quotes\""
PAPERS = {
    "01_first": f"""\
title: The first paper
cite: Nobody 2020, arXiv 2001.00001
cohorts: {{phantom: mass, public: nih_cxr14}}
notebooks: {{01_train: [], 04_privacy_pairs: [01_train], 05_utility: [01_train]}}
items:
  fig1_samples: {{notebook: 01_train, shows: {json.dumps(NASTY)}, published: null}}
  fig2_pairs: {{notebook: 04_privacy_pairs, shows: pairs, published: {{min: 1.5}}, source: figure 2}}
  tab1_scores: {{notebook: 05_utility, shows: scores, published: {{real: {{auroc: 0.8, f1: 0.7}}}}, source: table 1}}
study: true
claims:
  C1:
    {{kind: paper, says: one, place: table 1, notebook: 05_utility, value: gain, claimed: "> 0", published: 0.25,
      generator: true, nulls: {{noise: it shows nobody}}}}
  C2:
    {{kind: paper, says: two, place: text, notebook: 05_utility, value: gain, claimed: "> 0",
      generator: true, nulls: {{noise: it shows nobody}}}}
  C3:
    {{kind: paper, says: three, place: text, notebook: 05_utility, value: {json.dumps(NASTY)}, claimed: "> 0",
      generator: true, nulls: {{noise: it shows nobody}}}}
  C4:
    {{kind: paper, says: four, place: text, notebook: 04_privacy_pairs, value: gain, claimed: "> 0",
      generator: true, nulls: {{noise: it shows nobody}}}}
  C5:
    {{kind: paper, says: five, place: text, notebook: 04_privacy_pairs, value: gain, claimed: "> 0",
      generator: true, nulls: {{noise: it shows nobody}}}}
  P1: {{kind: precondition, says: six, notebook: 05_utility, value: gain, claimed: "> 0", generator: true}}
deviations:
  - {{where: section 2, what: {json.dumps(NASTY)}, why: a reason}}
  - {{where: section 3, what: smaller, why: time, bears_on: [05_utility]}}
""",
    "08_card": """\
title: The scorecard
cite: all of them
cohorts: {phantom: null, public: null}
closing: true
notebooks: {01_scorecard: []}
items:
  tab_counts: {notebook: 01_scorecard, shows: counts, published: null}
""",
    "02_second": """\
title: The second paper
cite: Somebody 2021
cohorts: {phantom: chest}
notebooks: {02_fidelity: []}
items:
  fig9: {notebook: 02_fidelity, shows: nothing yet, published: [1, -2], source: text}
""",
}
VOID = {"meta", "link", "img", "input", "br"}
OUTPUTS = {
    "text/plain": "a table",
    "text/html": "<table><tr><td>0.5</td></tr></table><script src='https://elsewhere.org/x.js'></script>",
    "image/png": base64.b64encode(b"\x89PNG").decode(),
}


def executed_notebook() -> str:
    """What papermill leaves: text, code, a picture, and an output that wants a script from afar."""
    outputs = [
        {"output_type": "execute_result", "data": {kind: data}, "metadata": {}, "execution_count": 1}
        for kind, data in OUTPUTS.items()
    ]
    text = {"cell_type": "markdown", "metadata": {}, "source": "# A title\n\n*words*", "id": "a"}
    code = {"cell_type": "code", "metadata": {}, "source": "a < b", "outputs": outputs, "execution_count": 1, "id": "b"}
    return json.dumps({"cells": [text, code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Page(HTMLParser):
    """Tags with attributes and text; `parts` holds the text below each element with an id."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.parts, self.folder = [], [], {}, path.parent
        self.feed(path.read_text(encoding="utf-8"))
        self.parts = {part: " ".join(text.split()) for part, text in self.parts.items()}
        self.text = self.parts[None]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))

        self.handle_data(" ")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag
        self.handle_data(" ")

    def handle_data(self, data):
        if not {"style", "script"} & {tag for tag, _ in self.open}:
            for part in {None} | {part for _, part in self.open}:
                self.parts[part] = self.parts.get(part, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def fabricate(root, tag="demo-phantom"):
    """A run in which 01_train is done, 04 left a figure and failed, and 05 is done; the second paper was not run."""
    for name, text in PAPERS.items():
        folder = root / "notebooks" / name
        folder.mkdir(parents=True)
        (folder / "paper.yaml").write_text(text)
        for notebook in ("01_train", "04_privacy_pairs", "05_utility", "02_fidelity", "01_scorecard"):
            (folder / f"{notebook}.ipynb").write_text("{}")
    scale, cohort = tag.split("-")
    run = Run("01_first", scale, cohort, 0)
    figure, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, 1])
    plt.close(figure)
    run.figure("fig2_pairs", figure, n=600)
    frame = pd.DataFrame(
        {"condition": ["real", NASTY], "auroc": [0.75, 0.5], "auroc_low": [0.7, 0.4], "auroc_high": [0.8, 0.6]}
    )
    run.table("tab1_scores", frame, n="402 of 118 patients")
    noise = {"noise": Repeated([0.01, -0.01, 0.0, 0.02, -0.02])}
    run.record("C1", Repeated([0.15, 0.25, 0.18, 0.22, 0.2]), nulls=noise, shortfalls=[])
    run.record("C2", Repeated([0.008, -0.004, 0.002, 0.001, 0.003]), nulls=noise, shortfalls=[])
    run.record("C3", Repeated([-1234.5, -1000.0, -1500.0, -1300.0, -1138.0]), nulls=noise, shortfalls=[])
    run.record("P1", Repeated([0.9, 0.8, 0.85, 0.9, 0.95]), shortfalls=[])
    run.untestable("C4", f"because {NASTY}")
    executed = root / "data" / "runs" / tag / "executed" / "01_first"
    executed.mkdir(parents=True)
    for notebook, seconds in (("01_train", 192.4), ("05_utility", 7.26)):
        done = {"notebook": notebook, "seconds": seconds, "peak_memory_mb": 1422.4, "revision": "abc1234"}
        run.path(f"{notebook}/done.json").write_text(json.dumps(done | {"finished_at": "2026-11-21T12:14:09+00:00"}))
        (executed / f"{notebook}.ipynb").write_text(executed_notebook())
    error = {"output_type": "error", "ename": "ValueError", "evalue": NASTY}
    failed = json.loads(executed_notebook())
    failed["cells"][1]["outputs"] = [error | {"traceback": ["a trace"]}]
    (executed / "04_privacy_pairs.failed.ipynb").write_text(json.dumps(failed))


def finish(root, tag="demo-phantom"):
    """What `fabricate` left undone."""
    scale, cohort = tag.split("-")
    first = Run("01_first", scale, cohort, 0)
    plt.close(figure := plt.figure(figsize=(1, 1)))
    first.figure("fig1_samples", figure, n=3)
    noise = Repeated([0.0, 0.1, -0.1, 0.05, -0.05])
    first.record("C5", Repeated([-1.0, 1.0, 0.5, -0.5, 0.0]), nulls={"noise": noise}, shortfalls=[])
    plt.close(figure := plt.figure(figsize=(1, 1)))
    Run("02_second", scale, cohort, 0).figure("fig9", figure, n=3)
    counts = scorecard.counts(read_run(tag))
    Run("08_card", scale, cohort, 0).table("tab_counts", counts, n=5)
    for failed in root.glob("data/runs/*/executed/*/*.failed.ipynb"):
        failed.unlink()
    done = json.loads((root / "data" / "runs" / tag / "01_first/01_train/done.json").read_text())
    for paper, notebook in (
        ("01_first", "04_privacy_pairs"),
        ("02_second", "02_fidelity"),
        ("08_card", "01_scorecard"),
    ):
        Run(paper, scale, cohort, 0).path(f"{notebook}/done.json").write_text(json.dumps(done))
