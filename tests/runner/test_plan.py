"""What is out of date: content decides, of a notebook and of all it rests on."""

import json
import os
import re

import pytest
import yaml

from lib.core.files import atomic
from lib.runner import plan as state
from tests.runner.toy import Suite, write_notebook


class TestIsCurrent:
    """Content decides what is out of date. Each test starts from two finished notebooks."""

    @pytest.fixture
    def suite(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
        suite = Suite(tmp_path, {"01_p": {"01_train": ((), "1"), "02_fidelity": (("01_train",), "2")}}, None)
        with (tmp_path / "notebooks/01_p/paper.yaml").open("a") as file:
            file.write("settings: {steps: [1, 1, 1]}\n")
        for notebook in self.plan():
            notebook.executed().parent.mkdir(parents=True, exist_ok=True)
            notebook.executed().write_text("{}")
            notebook.record("done").parent.mkdir(parents=True)
            (notebook.record("done").parent / "model").write_text(notebook.name)
            done = {"sources": notebook.sources, "needs": notebook.finished_needs(), "inputs": {}}
            notebook.record("done").write_text(json.dumps(done | self.left(notebook)))
        return suite

    @staticmethod
    def left(notebook: state.Notebook) -> dict:
        """What the record says of the files that the notebook has left."""
        files = notebook.manifest()
        return {"files": files, "products": state.products_digest(notebook, files)}

    def test_what_was_fetched_is_out_of_date_where_everything_is_trained(self, suite, monkeypatch):
        training, fidelity = self.plan()
        for folder, made in (("own", {}), ("fetched", {"stored": "masses"})):
            file = training.record("done").parent / folder / "checkpoint.json"
            file.parent.mkdir()
            file.write_text(json.dumps({"made": made}))
        done = training.read("done") | self.left(training)
        training.record("done").write_text(json.dumps(done))
        fidelity.record("done").write_text(json.dumps(fidelity.read("done") | {"needs": fidelity.finished_needs()}))
        assert [list(notebook.changes()) for notebook in self.plan()] == [[], []]
        monkeypatch.setenv("SUITE_TRAIN", "1")
        assert [list(notebook.changes()) for notebook in self.plan()] == [["not trained here: fetched"], []]

    @staticmethod
    def plan() -> list[state.Notebook]:
        return state.plan(("01_p",), scale="smoke", cohort="phantom", seed=3)

    def current(self) -> list[bool]:
        return [notebook.is_current for notebook in self.plan()]

    def test_finished(self, suite):
        assert self.current() == [True, True]

    def reasons(self) -> list[list[str]]:
        return [list(notebook.changes()) for notebook in self.plan()]

    def test_why(self, suite):
        train, fidelity = self.plan()
        write_notebook(suite.source("01_p/01_train"), "import lib.core.paths")
        fidelity.record("done").write_text(json.dumps(fidelity.read("done") | {"needs": {"01_train": "other"}}))
        fidelity.executed().unlink()
        (edited,), other = self.reasons()
        assert edited == "changed: its cells, lib, lib.core, lib.core.inputs, lib.core.paths"
        executed = fidelity.executed().relative_to(suite.root)
        assert other == ["changed: 01_train", f"{executed} is absent"]
        train.record("done").rename(train.record("failed"))
        fidelity.record("done").unlink()
        assert self.reasons() == [["failed"], ["not finished"]]

    @pytest.mark.parametrize("content", ["[]", "null", "3", '"done"', "[" * 100_000, '{"a":' * 100_000, "", "\xff"])
    def test_a_malformed_record_is_none(self, suite, content):
        train, _ = self.plan()
        train.record("done").write_bytes(content.encode("latin-1"))
        assert train.read("done") == {}
        assert self.reasons()[0] == ["not finished"]

    def test_outputs_do_not_count(self, suite):
        content = json.loads(suite.source("01_p/01_train").read_text())
        output = {"output_type": "stream", "name": "stdout", "text": "x"}
        content["cells"][1] |= {"execution_count": 7, "outputs": [output]}
        suite.source("01_p/01_train").write_text(json.dumps(content, indent=1))
        assert self.current() == [True, True]

    def test_source(self, suite):
        write_notebook(suite.source("01_p/02_fidelity"), "3")
        assert self.current() == [True, False]

    def test_source_of_a_need_decides_when_it_has_left_other_files(self, suite):
        write_notebook(suite.source("01_p/01_train"), "3")
        assert self.current() == [False, True]

    @pytest.mark.parametrize(
        ("entry", "current"),
        [
            ({"settings": {"steps": [2, 1, 1]}}, [False, False]),
            ({"settings": {"steps": [1, 2, 2]}}, [True, True]),
            ({"cohorts": {"phantom": "iris"}}, [False, False]),
            ({"cohorts": {"phantom": "mass", "public": "cbis_ddsm"}}, [True, True]),
            ({"items": {"tab1": {"notebook": "02_fidelity", "shows": "another", "published": None}}}, [True, False]),
            ({"deviations": [{"where": "", "what": "", "why": ""}]}, [True, True]),
        ],
    )
    def test_paper_yaml(self, suite, entry, current):
        """A notebook's own entries count: the scale's column, its cohort, its items; no other column, no deviation."""
        path = suite.root / "notebooks/01_p/paper.yaml"
        assert self.current() == [True, True]
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | entry))
        assert self.current() == current

    def test_need_made_again(self, suite):
        """Executed at another time, it makes nothing out of date; with other files, those that need it."""
        train, _ = self.plan()
        train.record("done").write_text(json.dumps(train.read("done") | {"finished_at": "later"}))
        assert self.current() == [True, True]
        (train.record("done").parent / "model").write_text("another")
        assert self.current() == [False, True]
        train.record("done").write_text(json.dumps(train.read("done") | self.left(train)))
        assert self.current() == [True, False]

    def test_what_a_killed_writer_left_is_no_product(self, suite):
        train, _ = self.plan()
        before = self.left(train)
        with atomic(train.record("done").parent / "gan/step.pt") as partial:
            partial.write_text("half")
            assert self.left(train) == before
        (train.record("done").parent / "gan/step.pt").write_text("whole")
        assert self.left(train)["products"] != before["products"]

    def test_when_and_how_fast_a_training_was_made_is_no_content(self, suite):
        train, _ = self.plan()
        folder = train.record("done").parent / "gan"
        folder.mkdir()

        def products(step, date, curve="1,2", text=None):
            record = {"step": step, "made": {"date": date}}
            (folder / "checkpoint.json").write_text(text or json.dumps(record))
            (folder / "curve.csv").write_text(curve)
            return self.left(train)["products"]

        assert products(3, "today") == products(3, "tomorrow", curve="1,3")
        assert (
            len({products(3, "today"), products(4, "today"), products(3, "", text="[]"), products(3, "", text="{")})
            == 4
        )

    def test_an_edited_parameters_cell(self, suite):
        """Also where papermill would set the value: the notebook is another, as it was saved."""
        write_notebook(suite.source("01_p/02_fidelity"), "2", parameters='scale = "demo"\ncohort = "phantom"\nseed = 3')
        assert self.reasons()[1] == ["changed: its cells"]

    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (lambda path: path.write_text(""), r"01_train/model is damaged \(0 bytes of 8\)"),
            (lambda path: path.write_text("01_trai"), r"01_train/model is damaged \(7 bytes of 8\)"),
            (lambda path: path.write_text("01_TRAIN"), r"01_train/model is damaged \(its content has changed\)"),
            (lambda path: path.unlink(), "01_train/model is absent"),
        ],
    )
    def test_a_damaged_product(self, suite, damage, says):
        """Finished is not what exists, but what is as it was left; a touch and a file of another's do no harm."""
        train, _ = self.plan()
        model = train.record("done").parent / "model"
        os.utime(model, (1, 1))
        (model.parent / "another").write_text("")
        assert self.current() == [True, True]
        damage(model)
        os.utime(model, (2, 2)) if model.exists() else None
        (found,), others = self.reasons()
        assert re.fullmatch(f"data/runs/smoke-phantom-seed3/01_p/{says}", found)
        assert others == []

    @pytest.mark.parametrize("files", [None, [], {"a": None}, {"a": {}}, {"data": {"size": "1"}}, 3])
    def test_a_malformed_manifest(self, suite, files):
        train, _ = self.plan()
        train.record("done").write_text(json.dumps(train.read("done") | {"files": files}))
        assert self.current() == [False, True]
        (suite.root / "a").touch()
        assert self.current() == [False, True]

    @pytest.mark.parametrize("left", ["[]", "null", "3", "{}", '{"sources": null}'])
    def test_a_record_of_another_shape(self, suite, left):
        self.plan()[0].record("done").write_text(left)
        assert self.current()[0] is False

    def test_unfinished_need(self, suite):
        self.plan()[0].record("done").unlink()
        assert self.current() == [False, False]

    @pytest.mark.parametrize("left", ["", '{"source_sha', "[]x"])
    def test_half_written_record(self, suite, left):
        self.plan()[1].record("done").write_text(left)
        assert self.current() == [True, False]

    def test_half_written_copy(self, suite):
        train, _ = self.plan()
        train.record("done").rename(train.record("running"))
        train.executed().rename(train.executed("running"))
        assert self.current() == [False, False]

    @pytest.mark.parametrize(
        ("changed", "current"),
        [
            ("data/runs/smoke-phantom-seed3/01_p/claims/C1.json", False),
            ("figures/smoke-phantom-seed3/01_p/tab1.json", False),
            ("data/runs/smoke-phantom-seed3/01_p/02_fidelity/failed.json", False),
            ("notebooks/01_p/paper.yaml", False),
            ("figures/smoke-phantom-seed3/09_last/tab1.json", True),
            ("figures/smoke-phantom/01_p/tab1.json", True),
            ("data/runs/smoke-phantom-seed3/01_p/01_train/model.json", True),
            ("figures/smoke-phantom-seed3/01_p/.tab1.0.7.partial.json", True),
            ("data/runs/smoke-phantom-seed3/01_p/claims/.C1.0123abcd.0.7.partial.json", True),
        ],
    )
    def test_records_that_a_closing_notebook_reads(self, suite, changed, current):
        Suite(suite.root, {"09_last": {"01_read": ((), "1")}}, None)
        (last,) = state.plan(("09_last",), scale="smoke", cohort="phantom", seed=3)
        before = last.sources
        (suite.root / changed).parent.mkdir(parents=True, exist_ok=True)
        with (suite.root / changed).open("a") as file:
            file.write("# another\n")
        assert (last.sources == before) == current

    @pytest.mark.parametrize("size", [10, 10**7])
    def test_a_file_it_read(self, suite, size):
        train, _ = self.plan()
        path = suite.root / "data/cohorts/a.h5"

        def made_from() -> None:
            inputs = state.digests_of_inputs(["data/cohorts/a.h5"])
            train.record("done").write_text(json.dumps(train.read("done") | {"inputs": inputs}))
            assert self.current() == [True, True]

        made_from()  # it looked, and no file was there
        path.parent.mkdir()
        path.write_bytes(bytes(size))
        assert self.current() == [False, True]
        made_from()
        path.write_bytes(bytes(size - 1) + b"1")
        assert self.current() == [False, True]


def test_needs_in_a_circle(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    Suite(tmp_path, {"01_p": {"01_a": (("02_b",), ""), "02_b": (("01_a",), "")}}, None)
    with pytest.raises(ValueError, match="notebooks need each other: 01_a → 02_b → 01_a"):
        state.plan(("01_p",), scale="smoke", cohort="phantom", seed=0)
