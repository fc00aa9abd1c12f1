"""The suite: order, failures, several seeds, and what a kill -9 leaves behind (nothing)."""

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.runner.toy import Suite, write_notebook

pytestmark = pytest.mark.slow

SLEEP = """
import os, time
from pathlib import Path
here = Path(os.environ["SUITE_ROOT"])
(here / "pids.partial").write_text(f"{os.getpid()} {os.getppid()}")
(here / "pids.partial").rename(here / "pids")  # whole as soon as it is there: tests wait for it
while not (here / "go").exists():
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, fork_server, pageless):
    """A suite that was run once: two that depend, a paper in which one fails, one that reads the others."""
    model = "from pathlib import Path; model = Path('../../data/runs/smoke-phantom-seed3/01_good/01_train/model')\n"
    made, read = model + "model.write_text('42')", model + "print(model.read_text(), scale, seed)"
    good = {"01_train": ((), made), "02_fidelity": (("01_train",), read)}
    bad = {"01_train": ((), "1 / 0"), "02_fidelity": (("01_train",), ""), "05_utility": ((), "import os; os.getcwd()")}
    seen = "from pathlib import Path; runs = Path('../../data/runs/smoke-phantom-seed3')\n"
    seen += "print(*sorted(f'{p.parts[-3]}/{p.parts[-2]} {p.stem}' for p in runs.glob('*/*/*.json')), sep='\\n')"
    papers = {"00_last": {"01_read": ((), seen)}, "01_good": good, "02_bad": bad}
    suite = Suite(tmp_path_factory.mktemp("suite"), papers, fork_server, pageless)
    before = suite.source("01_good/02_fidelity").read_bytes()
    suite.exit_code, suite.output = suite.run(script=True)
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
        assert {len(digest) for digest in done["sources"].values()} == {64}
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

    def test_a_dry_run_says_why(self, finished):
        code, output = finished.run("--dry-run")
        assert code == 0
        lines = [" ".join(line.split()) for line in output.splitlines()]
        assert {"would run 02_bad/01_train: failed", "would run 02_bad/02_fidelity: not finished"} <= set(lines)
        assert "finished 01_good/01_train" in lines
        piped = f"{finished.code}/run_all.sh smoke --seed 3 --dry-run | head -n 0"
        made = subprocess.run(["bash", "-c", piped], env=finished.env, capture_output=True, text=True)
        assert (made.returncode, made.stdout, made.stderr) == (0, "", "")

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


def test_what_needs_a_notebook_follows_if_it_left_other_files(tmp_path, fork_server, pageless):
    read = "from pathlib import Path\nfrom lib.core.inputs import reading\n"
    read += "model = Path('../../data/runs/smoke-phantom-seed3/01_p/01_train/model')\n"
    read += "model.write_text(reading('../../data/cohorts/a.csv').read_text())"
    train, fidelity = "01_p/01_train", "01_p/02_fidelity"
    suite = Suite(
        tmp_path, {"01_p": {"01_train": ((), read), "02_fidelity": (("01_train",), "")}}, fork_server, pageless
    )
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


TRAINS = """
from pathlib import Path
net = Path("../../data/runs/smoke-phantom-seed3/01_p/01_train/net")
if not net.exists():
    net.mkdir(parents=True)
    (net / "checkpoint.json").write_text("{}")
    (net / "final.safetensors").write_text("weights")
if (net / "final.safetensors").read_text() != "weights":
    raise ValueError(f"{net} is damaged: delete the folder")
"""


def test_a_damaged_training_is_put_aside_and_made_again(tmp_path, fork_server, pageless):
    suite = Suite(tmp_path, {"01_p": {"01_train": ((), TRAINS)}}, fork_server, pageless)
    assert suite.run()[0] == 0
    weights = suite.folder / "01_p/01_train/net/final.safetensors"
    weights.write_text("")
    exit_code, output = suite.run()
    assert exit_code == 0, output
    assert weights.read_text() == "weights"
    assert (suite.folder / "damaged/01_p/01_train/net/final.safetensors").read_text() == ""
    assert "01_p/01_train/net was damaged: it is trained again, and kept in data/runs" in output
    assert "finished before" in suite.run()[1]


def test_several_seeds_side_by_side(tmp_path, fork_server, code, pageless):
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
    suite.code = pageless
    exit_code, output = suite.run("--seed", "1", seeded=False)
    assert (exit_code, output.count("finished before")) == (0, 2)


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
def test_a_kill_leaves_no_process_and_the_next_run_goes_on(tmp_path, fork_server, pageless, killed):
    notebooks = {"01_train": ((), "1"), "02_fidelity": (("01_train",), SLEEP)}
    own_fork_server = killed == "suite"
    suite = Suite(tmp_path, {"01_p": notebooks}, None if own_fork_server else fork_server, pageless)
    process = suite.start()
    wait_for((tmp_path / "pids").exists)
    running = processes_of(suite)
    assert len(running) == (6 if own_fork_server else 5)  # suite, snakemake, job, papermill, kernel; fork server
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


def test_the_terminal_shows_what_a_running_notebook_said_last(tmp_path, fork_server, pageless):
    """The notebook prints once and goes on for a while; its kernel is told how often to speak as well."""
    cell = "import os, time\nprint('every', os.environ['SUITE_PROGRESS_SECONDS'], flush=True)\ntime.sleep(4)"
    suite = Suite(tmp_path, {"01_slow": {"01_train": ((), cell)}}, fork_server, pageless)
    suite.env["SUITE_PROGRESS_SECONDS"] = "0.5"
    _, output = suite.run()
    lines = [" ".join(line.split()[1:]) for line in output.splitlines()]
    assert lines.count("running 01_slow/01_train every 0.5") >= 2


def test_one_run_at_a_time(tmp_path, fork_server, pageless, preloaded):
    """Whoever comes second is told who runs and writes nothing: the suite, one notebook, torchrun's cells, and Run."""
    papers = {"01_p": {"01_train": ((), SLEEP), "02_fidelity": ((), "print('once')")}}
    suite = Suite(tmp_path, papers, fork_server, pageless)
    process = suite.start("--jobs", "1")
    wait_for((tmp_path / "pids").exists)
    held = json.loads((suite.folder / ".lock").read_text())
    says = f"is in use by process {held['pid']} (./run_all.sh smoke --jobs 1 --seed 3) since {held['since']}; wait"
    exit_code, output = suite.run()
    assert (exit_code, says in output) == (2, True)
    before = {path: path.stat().st_mtime_ns for path in suite.folder.rglob("*") if path.is_file()}
    one = [sys.executable, "-m", "lib.runner", "01_p", "02_fidelity", "--scale", "smoke", "--seed", "3"]
    cells = [str(suite.source("01_p/02_fidelity")), "-p", "scale", "smoke", "-p", "seed", "3"]
    for made in (
        subprocess.run(one, cwd=pageless, env=suite.env, capture_output=True, text=True),
        preloaded.run_module("lib.experiment.run", *cells, env=suite.env),
    ):
        assert (made.returncode, says in made.stderr, len(made.stderr.splitlines())) == (2, True, 1)
    write = "import pandas as pd; from lib.experiment.run import Run; "
    write += "Run('01_p', 'smoke', 'phantom', 3).save('01_train/a.csv', pd.DataFrame())"
    made = preloaded.run(write, env=suite.env)
    assert says in made.stderr.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in suite.folder.rglob("*") if path.is_file()} == before
    (tmp_path / "go").touch()
    assert process.communicate(timeout=120)[0].count("done") >= 2
    assert process.returncode == 0
    made = subprocess.run(one, cwd=pageless, env=suite.env, capture_output=True, text=True)
    assert (made.returncode, "once" in made.stdout) == (0, True)
    assert suite.run()[1].count("finished before") == 2
