"""The runner: order, failures, what is out of date, and what a kill -9 leaves behind (nothing)."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

import lib.experiment.paper
import lib.experiment.run
from lib.runner import cli as arguments
from lib.runner import environment
from lib.runner import plan as state
from lib.runner.notebook import check_parameters
from tests.paths import ROOT

SLEEP = """
import os, time
from pathlib import Path
here = Path(os.environ["SUITE_ROOT"])
(here / "pids").write_text(f"{os.getpid()} {os.getppid()}")
while not (here / "go").exists():
    time.sleep(0.05)
"""


def cell(source: str, tags: tuple[str, ...] = (), **more) -> dict:
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "outputs": [],
            "execution_count": None, "id": f"c{abs(hash(source)) % 10**8}"} | more  # fmt: skip


def write_notebook(path: Path, *sources: str, parameters: str = 'scale = "demo"\ncohort = "phantom"\nseed = 0') -> None:
    cells = [cell(parameters, ("parameters",)), *map(cell, sources)]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def _hears_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Suite:
    """A throw-away project with the papers given as {paper: {notebook: (needs, source)}}, run by `code`.

    A paper whose name ends in "_last" is closing.
    """

    def __init__(self, root: Path, papers: dict, fork_server: str | None, code: Path = ROOT):
        self.root, self.folder, self.code = root, root / "data" / "runs" / "smoke-phantom-seed3", code
        self.env = os.environ | {"SUITE_ROOT": str(root), "PYTHON": sys.executable}
        self.env.pop("SUITE_FORK_SERVER", None)
        self.env |= {"SUITE_FORK_SERVER": fork_server} if fork_server else {}
        for paper, notebooks in papers.items():
            folder = root / "notebooks" / paper
            folder.mkdir(parents=True)
            content = {"title": paper, "cite": "", "cohorts": {"phantom": None if paper.endswith("_last") else "mass"}}
            content["notebooks"] = {name: list(needs) for name, (needs, _) in notebooks.items()}
            content |= {"closing": True} if paper.endswith("_last") else {}
            (folder / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
            for name, (_, source) in notebooks.items():
                write_notebook(folder / f"{name}.ipynb", source)

    def start(self, *words: str, seeded: bool = True) -> subprocess.Popen:
        command = [self.code / "run_all.sh", "smoke", *words, *(("--seed", "3") if seeded else ())]
        # A shell starts what it puts in the background deaf to SIGINT, and so may have started these tests.
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=self.env, preexec_fn=_hears_interrupts, **options)

    def run(self, *words: str, seeded: bool = True) -> tuple[int, str]:
        process = self.start(*words, seeded=seeded)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def record_path(self, notebook: str, kind: str = "done") -> Path:
        return self.folder / notebook / f"{kind}.json"

    def record(self, notebook: str, kind: str = "done") -> dict | None:
        path = self.record_path(notebook, kind)
        return json.loads(path.read_text()) if path.exists() else None

    def source(self, notebook: str) -> Path:
        return self.root / "notebooks" / f"{notebook}.ipynb"


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """A copy of the runner and of lib, which nobody edits while the tests run."""
    folder = tmp_path_factory.mktemp("code")
    for name in ("run_all.sh", "Snakefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "lib", folder / "lib")
    return folder


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory):
    """One fork server for the tests, without torch, so that a notebook costs no import."""
    path = str(tmp_path_factory.mktemp("fork server") / "s")
    code = "import sys; from lib.runner.fork_server.server import PRELOADED, serve; "
    code += "serve(sys.argv[1], int(sys.argv[2]), PRELOADED[:-1], ())"
    with subprocess.Popen([sys.executable, "-c", code, path, str(os.getpid())], cwd=ROOT) as process:
        while not os.path.exists(path):
            assert process.poll() is None
            time.sleep(0.02)
        yield path
        process.kill()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, fork_server, code):
    """A suite that was run once: two that depend, a paper in which one fails, one that reads the others."""
    model = "from pathlib import Path; model = Path('../../data/runs/smoke-phantom-seed3/01_good/01_train/model')\n"
    made, read = model + "model.write_text('42')", model + "print(model.read_text(), scale, seed)"
    good = {"01_train": ((), made), "02_fidelity": (("01_train",), read)}
    bad = {"01_train": ((), "1 / 0"), "02_fidelity": (("01_train",), ""), "05_utility": ((), "import os; os.getcwd()")}
    seen = "from pathlib import Path; runs = Path('../../data/runs/smoke-phantom-seed3')\n"
    seen += "print(*sorted(f'{p.parts[-3]}/{p.parts[-2]} {p.stem}' for p in runs.glob('*/*/*.json')), sep='\\n')"
    papers = {"00_last": {"01_read": ((), seen)}, "01_good": good, "02_bad": bad}
    suite = Suite(tmp_path_factory.mktemp("suite"), papers, fork_server, code)
    before = suite.source("01_good/02_fidelity").read_bytes()
    suite.exit_code, suite.output = suite.run()
    assert suite.source("01_good/02_fidelity").read_bytes() == before
    return suite


class TestARun:
    def test_hands_files_over_in_the_order_of_the_needs(self, finished):
        executed = json.loads((finished.folder / "executed/01_good/02_fidelity.ipynb").read_text())
        assert executed["cells"][-1]["outputs"][0]["text"] == ["42 smoke 3\n"]
        assert "42 smoke 3" in (finished.folder / "log/01_good/02_fidelity.log").read_text()

    def test_records_time_memory_and_origin(self, finished):
        done = finished.record("01_good/01_train")
        assert done["seconds"] >= done["seconds_in_cells"] > 0
        assert 20 < done["peak_memory_mb"] < 20_000
        assert len(done["source_sha256"]) == 64
        assert len(done["products"]) == 64
        assert finished.record("01_good/02_fidelity")["needs"] == {"01_train": done["products"]}

    def test_keeps_going_past_a_failure_and_tells(self, finished):
        assert finished.exit_code == 1
        assert "02_bad/01_train, cell [3]: ZeroDivisionError: division by zero" in finished.output
        assert "executed/02_bad/01_train.failed.ipynb" in finished.output
        rows = {line.split()[0]: line for line in finished.output.split("\n\n")[-1].splitlines()}
        assert rows["02_bad/01_train"].endswith("failed")
        assert rows["02_bad/02_fidelity"].endswith("skipped")
        assert rows["02_bad/05_utility"].endswith("done")
        assert rows["01_good/02_fidelity"].endswith("done")

    def test_closing_notebooks_come_last_however_the_others_ended(self, finished):
        executed = json.loads((finished.folder / "executed/00_last/01_read.ipynb").read_text())
        (output,) = executed["cells"][-1]["outputs"]
        seen = "".join(output["text"]).split("\n")[:-1]
        good = ["01_good/01_train done", "01_good/02_fidelity done"]
        assert seen == ["00_last/01_read running", *good, "02_bad/01_train failed", "02_bad/05_utility done"]
        assert "00_last/01_read" in finished.output.split("\n\n")[-1]

    def test_a_rerun_that_changes_no_record_leaves_closing_notebooks_alone(self, finished):
        before = finished.record("00_last/01_read"), finished.record("01_good/01_train")
        finished.record_path("01_good/01_train").unlink()
        code, output = finished.run()
        assert code == 1
        assert finished.record("01_good/01_train")["finished_at"] > before[1]["finished_at"]
        assert finished.record("00_last/01_read") == before[0]
        assert "00_last/01_read" in output.split("\n\n")[-1]

    def test_a_named_paper_runs_alone(self, finished):
        assert "00_last" not in finished.run("01_good")[1]

    def test_works_in_the_folder_of_the_notebook(self, finished):
        executed = json.loads((finished.folder / "executed/02_bad/05_utility.ipynb").read_text())
        (output,) = executed["cells"][-1]["outputs"]
        assert str(finished.root / "notebooks" / "02_bad") in "".join(output["data"]["text/plain"])

    def test_leaves_no_partial_copy_and_no_running_record(self, finished):
        assert list(finished.folder.rglob("*running*")) == []
        assert (finished.folder / "executed/02_bad/01_train.failed.ipynb").exists()
        assert finished.record("02_bad/01_train") is None

    def test_again_executes_nothing(self, finished):
        for path in (finished.root / "notebooks").rglob("*"):
            path.touch()
        before = finished.record("01_good/01_train"), finished.record("01_good/02_fidelity")
        code, output = finished.run("01_good")
        assert (code, output.count("finished before")) == (0, 2)
        assert (finished.record("01_good/01_train"), finished.record("01_good/02_fidelity")) == before

    def test_executes_what_changed_and_nothing_else(self, finished):
        before = finished.record("01_good/01_train"), finished.record("01_good/02_fidelity")
        write_notebook(finished.source("01_good/02_fidelity"), "print('changed')")
        code, output = finished.run("01_good")
        assert code == 0
        assert finished.record("01_good/01_train") == before[0]
        assert finished.record("01_good/02_fidelity")["finished_at"] > before[1]["finished_at"]


def test_what_needs_a_notebook_follows_if_it_left_other_files(tmp_path, fork_server, code):
    read = "from pathlib import Path\nfrom lib.core.inputs import reading\n"
    read += "model = Path('../../data/runs/smoke-phantom-seed3/01_p/01_train/model')\n"
    read += "model.write_text(reading('../../data/cohorts/a.csv').read_text())"
    train, fidelity = "01_p/01_train", "01_p/02_fidelity"
    suite = Suite(tmp_path, {"01_p": {"01_train": ((), read), "02_fidelity": (("01_train",), "")}}, fork_server, code)
    raw = tmp_path / "data" / "cohorts" / "a.csv"
    raw.parent.mkdir(parents=True)
    raw.write_text("1")
    assert suite.run()[0] == 0
    assert list(suite.record(train)["inputs"]) == ["data/cohorts/a.csv"]

    def again() -> tuple[int, list[bool]]:
        """The exit code of another run, and which of the two notebooks it executed."""
        before = suite.record(train), suite.record(fidelity)
        exit_code, _ = suite.run()
        return exit_code, [suite.record(name) != old for name, old in zip((train, fidelity), before, strict=True)]

    write_notebook(suite.source(train), read + "  # a remark")
    assert again() == (0, [True, False])
    raw.write_text("2")
    assert again() == (0, [True, True])
    raw.unlink()
    assert again() == (1, [True, True])
    assert suite.record(train) is suite.record(fidelity) is None
    assert "FileNotFoundError" in suite.record(train, "failed")["error"]
    assert suite.record(fidelity, "failed") is None


def test_several_seeds_side_by_side(tmp_path, fork_server, code):
    """Each seed has a run of its own; a failure in one is that seed's alone."""
    source = "print('seed', seed)\nassert seed != 2, 'an unlucky seed'"
    suite = Suite(tmp_path, {"01_p": {"01_train": ((), source), "02_fidelity": (("01_train",), "")}}, fork_server, code)
    exit_code, output = suite.run("--seeds", "1-2", seeded=False)
    assert exit_code == 1
    rows = {line[:40].strip(): line for line in output.split("\n\n")[-1].splitlines()}
    ends = {f"01_p/01_train seed {k}": end for k, end in ((1, "done"), (2, "failed"))}
    ends |= {f"01_p/02_fidelity seed {k}": end for k, end in ((1, "done"), (2, "skipped"))}
    assert {name: rows[name].split()[-1] for name in ends} == ends
    for k in (1, 2):
        assert f"seed {k}" in (tmp_path / f"data/runs/smoke-phantom-seed{k}/log/01_p/01_train.log").read_text()
        assert (tmp_path / f"figures/smoke-phantom-seed{k}/index.html").exists()
    exit_code, output = suite.run("--seed", "1", seeded=False)
    assert (exit_code, output.count("finished before")) == (0, 2)


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
            done = {"source_sha256": notebook.digest, "needs": notebook.finished_needs(), "inputs": {}}
            done |= {"products": notebook.products_digest()}
            notebook.record("done").write_text(json.dumps(done))
        return suite

    @staticmethod
    def plan() -> list[state.Notebook]:
        return state.plan(("01_p",), scale="smoke", cohort="phantom", seed=3)

    def current(self) -> list[bool]:
        return [notebook.is_current for notebook in self.plan()]

    def test_finished(self, suite):
        assert self.current() == [True, True]

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
        train.record("done").write_text(json.dumps(train.read("done") | {"products": train.products_digest()}))
        assert self.current() == [True, False]

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
        ],
    )
    def test_records_that_a_closing_notebook_reads(self, suite, changed, current):
        Suite(suite.root, {"09_last": {"01_read": ((), "1")}}, None)
        (last,) = state.plan(("09_last",), scale="smoke", cohort="phantom", seed=3)
        before = last.digest
        (suite.root / changed).parent.mkdir(parents=True, exist_ok=True)
        with (suite.root / changed).open("a") as file:
            file.write("# another\n")
        assert (last.digest == before) == current

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


def wait_for(condition, seconds: float = 240) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def processes_of(suite: Suite) -> list[psutil.Process]:
    """Everything that was started for `suite`, which its environment tells, and the kernel with its parent."""
    pids = (suite.root / "pids").read_text().split() if (suite.root / "pids").exists() else []
    found = []
    for process in psutil.process_iter():
        try:
            own = process.environ().get("SUITE_ROOT") == str(suite.root) or str(process.pid) in pids
            if own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("killed", ["suite", "snakemake", "job", "interrupt"])
def test_a_kill_leaves_no_process_and_the_next_run_goes_on(tmp_path, fork_server, code, killed):
    notebooks = {"01_train": ((), "1"), "02_fidelity": (("01_train",), SLEEP)}
    own_fork_server = killed == "suite"
    suite = Suite(tmp_path, {"01_p": notebooks}, None if own_fork_server else fork_server, code)
    process = suite.start()
    wait_for((tmp_path / "pids").exists)
    running = processes_of(suite)
    assert len(running) == 6 if own_fork_server else 5  # suite, snakemake, job, papermill, kernel; fork server
    if killed == "interrupt":
        process.send_signal(signal.SIGINT)
    else:
        marks = {"suite": "lib.runner.suite", "snakemake": "lib.runner.fork_server.lifetime", "job": "lib.runner"}
        (victim,) = [p for p in running if marks[killed] in p.cmdline()]
        victim.kill()
    output, _ = process.communicate(timeout=120)
    wait_for(lambda: processes_of(suite) == [], seconds=30)
    assert process.returncode == {"suite": -signal.SIGKILL, "interrupt": 130}.get(killed, 1)
    says = {"snakemake": "killed", "job": "killed", "interrupt": "./run_all.sh smoke --seed 3"}
    assert says.get(killed, "") in output
    assert suite.record("01_p/02_fidelity") is None
    assert not (suite.folder / "executed/01_p/02_fidelity.ipynb").exists()
    if own_fork_server:
        (tmp_path / "go").touch()
        suite.env["SUITE_FORK_SERVER"] = fork_server
        before = suite.record("01_p/01_train")
        code, output = suite.run()
        assert code == 0, output
        assert suite.record("01_p/01_train") == before
        assert suite.record("01_p/02_fidelity")["needs"] == {"01_train": before["products"]}


def test_one_run_at_a_time(tmp_path):
    suite = Suite(tmp_path, {"01_p": {"01_train": ((), "1")}}, None)
    suite.folder.mkdir(parents=True)
    with (suite.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        code, output = suite.run()
    assert code == 1
    assert "is in use by process 4711" in output
    assert len(output.strip().splitlines()) == 1


class TestOneNotebook:
    def execute(self, tmp_path, *words: str, **environment):
        suite = Suite(tmp_path, {"01_p": {"01_train": ((), "print('done', scale)\nraise KeyError('no\\nmore')")}}, None)
        command = [sys.executable, "-m", "lib.runner", "01_p", *words]
        made = subprocess.run(command, cwd=ROOT, env=suite.env | environment, capture_output=True, text=True)
        return made.returncode, made.stdout, made.stderr

    def test_without_a_fork_server(self, tmp_path):
        gone = str(tmp_path / "none")
        code, output, errors = self.execute(tmp_path, "01_train", "--scale", "smoke", SUITE_FORK_SERVER=gone)
        assert code == 1
        assert "no fork server here" in output
        assert "done smoke" in output
        assert "01_p/01_train, cell [3]: KeyError: 'no\\nmore'" in errors

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["02_nope"], "01_p has no notebook '02_nope': choose one of 01_train"),
            (["01_train", "-p", "epochs", "3"], "no parameter epochs; its parameters cell sets scale, cohort, seed"),
            (["01_train", "--cohort", "public"], "01_p has no public cohort"),
        ],
    )
    def test_refuses_what_is_not_known(self, tmp_path, fork_server, words, says):
        code, _, errors = self.execute(tmp_path, *words, SUITE_FORK_SERVER=fork_server)
        assert code == 2
        assert says in errors
        assert len(errors.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [('scale = ""\nseed: int = 0', "no parameter cohort; its parameters cell sets scale, seed"), (None, "has 0")],
)
def test_check_parameters(tmp_path, source, says):
    write_notebook(tmp_path / "n.ipynb", parameters=source or "")
    if source is None:
        (tmp_path / "n.ipynb").write_text('{"cells": []}')
    with pytest.raises(ValueError, match=says):
        check_parameters(tmp_path / "n.ipynb", {"scale": 1, "seed": 2, "cohort": 3})


class TestArguments:
    @pytest.fixture(autouse=True)
    def _papers(self, monkeypatch):
        monkeypatch.setattr(arguments, "known_papers", lambda: ["01_a", "02_b"])

    def test_defaults(self):
        read = arguments.parse([])
        assert (read.scale, read.papers, read.all_papers) == ("demo", ("01_a", "02_b"), True)
        assert (read.cohort, read.seeds) == ("phantom", (0,))

    @pytest.mark.parametrize(("text", "seeds"), [("7", (7,)), ("0-2", (0, 1, 2)), ("3,0,5-6,0", (3, 0, 5, 6))])
    def test_several_seeds(self, text, seeds):
        assert arguments.parse(["--seeds", text]).seeds == arguments.parse([f"--seed={text}"]).seeds == seeds

    def test_in_any_order(self):
        read = arguments.parse("--jobs 2 notebooks/02_b/ --seed=4 paper --executor slurm -- -k x".split())
        assert (read.scale, read.papers, read.jobs, read.seeds) == ("paper", ("02_b",), 2, (4,))
        assert (read.executor, read.snakemake, read.all_papers) == ("slurm", ("-k", "x"), False)

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["smok"], "unknown scale or paper 'smok': scales are smoke, demo, paper; papers are 01_a, 02_b"),
            (["demo", "smoke"], "two scales"),
            (["--cohort", "private"], "unknown cohort 'private': choose one of phantom, public"),
            (["--sed", "3"], "unknown option --sed: known are --help, --cohort, --seed"),
            (["--seed", "-1"], "seed '-1': give a whole number from 0"),
            (["--seeds", "4-0"], "seed '4-0': give a whole number from 0, or several: 0-4, or 0,2,5"),
            (["--jobs", "0"], "jobs '0': give a whole number from 1"),
        ],
    )
    def test_refuses_what_is_not_known(self, words, says):
        with pytest.raises(ValueError, match=says):
            arguments.parse(words)

    def test_knows_the_scales_and_cohorts_of_the_suite(self):
        assert (arguments.SCALES, arguments.COHORTS) == (lib.experiment.paper.SCALES, lib.experiment.paper.COHORTS)


def test_needs_in_a_circle(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    Suite(tmp_path, {"01_p": {"01_a": (("02_b",), ""), "02_b": (("01_a",), "")}}, None)
    with pytest.raises(ValueError, match="notebooks need each other: 01_a → 02_b → 01_a"):
        state.plan(("01_p",), scale="smoke", cohort="phantom", seed=0)


class TestSettingUp:
    """run_all.sh with a stand-in for Python that makes and fills environments by writing a log."""

    STAND_IN = """#!/usr/bin/env bash
[[ $1 == -c ]] || echo "$(dirname "$0") $*" >>log
case "$*" in
    -c*) exit "$(cat old 2>/dev/null || echo 0)" ;;
    "-m lib.runner.environment"*) echo "without torch"; exit 1 ;;
    "-m venv .venv") mkdir -p .venv/bin .venv/lib/python3/site-packages/{half,whole}.dist-info
        touch .venv/lib/python3/site-packages/whole.dist-info/RECORD; cp "$0" .venv/bin/python ;;
    "-m pip install"*) exit "$(cat broken 2>/dev/null || echo 0)" ;;
esac
"""

    @pytest.fixture
    def run(self, tmp_path):
        shutil.copy(ROOT / "run_all.sh", tmp_path)
        (tmp_path / "bin").mkdir()
        for name in ("python", "python3", *(f"python3.{minor}" for minor in range(11, 16))):
            (tmp_path / "bin" / name).write_text(self.STAND_IN)
            (tmp_path / "bin" / name).chmod(0o755)
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "constraints.txt").touch()
        env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}

        def run(*words: str) -> tuple[int, str, str]:
            (tmp_path / "log").unlink(missing_ok=True)
            made = subprocess.run([tmp_path / "run_all.sh", *words], env=env, capture_output=True, text=True, cwd="/")
            log = (tmp_path / "log").read_text() if made.returncode != 2 else ""
            return made.returncode, made.stdout + made.stderr, log

        return run

    def test_once(self, run):
        code, output, log = run("smoke")
        assert (code, output.count("Setting up .venv")) == (0, 1)
        assert ".venv/bin -m pip install -qq --disable-pip-version-check -c constraints.txt -e .[test]" in log
        assert log.endswith(".venv/bin -m lib.runner.suite smoke\n")
        code, output, log = run("test", "-k", "x")
        assert (code, output) == (0, "")
        assert "pip" not in log
        assert log.endswith(".venv/bin -m pytest -k x\n")

    def test_completes_what_was_cut_off(self, run, tmp_path):
        (tmp_path / "broken").write_text("1")
        code, _, log = run()
        assert code == 1
        assert "lib.runner.suite" not in log
        (tmp_path / "broken").unlink()
        code, _, log = run()
        assert code == 0
        assert "-m venv" not in log
        assert "-m pip install" in log
        assert [path.name for path in (tmp_path / ".venv/lib/python3/site-packages").iterdir()] == ["whole.dist-info"]

    def test_follows_new_constraints(self, run, tmp_path):
        run()
        (tmp_path / "constraints.txt").write_text("torch==2.14.0")
        assert "-m pip install" in run()[2]

    def test_old_python(self, run, tmp_path):
        (tmp_path / "old").write_text("1")
        code, output, _ = run()
        assert code == 2
        assert "needs Python 3.11 or later" in output


def test_environment_has_what_it_needs():
    assert environment.missing(["test"]) == []
