"""What goes wrong around a run: one sentence with its cause and what helps, an exit code, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from lib.core.files import machine
from tests.runner.test_suite import SLEEP, processes_of, wait_for
from tests.runner.toy import Suite, write_notebook

pytestmark = pytest.mark.slow


@pytest.fixture
def suite(tmp_path, fork_server, pageless):
    """Without a page; a test whose matter it is takes the whole code instead."""
    return Suite(tmp_path / "project", {"01_p": {"01_train": ((), "print('done')")}}, fork_server, pageless)


def only_sentence(output: str) -> str:
    (line,) = output.strip().splitlines()
    return line


def own_server(suite) -> None:
    """Let the suite start a fork server of its own."""
    suite.env.pop("SUITE_FORK_SERVER", None)


def test_a_long_temporary_folder(suite, tmp_path, code):
    """Sockets have a path of 107 letters at most, so they lie elsewhere."""
    suite.code = code
    own_server(suite)
    suite.env["TMPDIR"] = str(tmp_path / ("t" * (110 - len(str(tmp_path)))))
    os.mkdir(suite.env["TMPDIR"])
    code, output = suite.run()
    assert code == 0, output
    assert suite.record("01_p/01_train")["forked"] is True
    assert list(os.scandir(suite.env["TMPDIR"])) == []


@pytest.mark.parametrize("home", ["/proc/none", "{folder}/file"])
def test_a_home_that_cannot_be_written(suite, tmp_path, code, home):
    (tmp_path / "file").touch()
    suite.code = code
    suite.env["HOME"] = home.format(folder=tmp_path)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        suite.env.pop(name, None)
    write_notebook(suite.source("01_p/01_train"), "import matplotlib.pyplot as plt; plt.figure()")
    code, output = suite.run(script=True)
    assert code == 0, output
    assert "not a writable" not in (suite.folder / "log/01_p/01_train.log").read_text()


def test_any_name_of_the_checkout(tmp_path, fork_server, code):
    name = "{bird} a {b} 'c' $d %e {{x}} é ü"
    suite = Suite(tmp_path / name, {"01_p": {"01_train": ((), "print('done')")}}, fork_server, code)
    exit_code, output = suite.run()
    assert exit_code == 0, output
    assert printed(suite.folder / "log/01_p/01_train.log") == "done\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("closed", ["data", "figures"])
@pytest.mark.parametrize("how", ["cli", "one"])
def test_a_folder_that_cannot_be_written(suite, closed, how):
    """A read-only clone or a read-only figures/. A file in the way also stops root, whom no permission does."""
    (suite.root / closed).write_text("a file is in the way")
    if how == "cli":
        code, output = suite.run()
    else:
        command = [sys.executable, "-m", "lib.runner", "01_p", "01_train", "--scale", "smoke", "--seed", "3"]
        made = subprocess.run(command, cwd=suite.code, env=suite.env, capture_output=True, text=True)
        code, output = made.returncode, made.stdout + made.stderr
    assert code == 1
    place = suite.folder if closed == "data" else suite.root / "figures/smoke-phantom-seed3"
    assert f"{place}: cannot be written (Not a directory)" in only_sentence(output)
    assert suite.record("01_p/01_train") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts, or the user whom permissions stop")
@pytest.mark.parametrize(
    ("options", "says"),
    [("ro", "Read-only file system); allow writing to"), ("size=4k", "No space left on device); free some space")],
)
def test_a_disk_that_is_closed_or_full_at_the_start(suite, options, says):
    """On a file system of its own, which only this run sees."""
    runs = suite.root / "data" / "runs"
    runs.mkdir(parents=True)
    fill = f"head -c 100k /dev/zero >'{runs}/full' 2>/dev/null" if "size" in options else "true"
    script = f"mount -t tmpfs -o size=64k none '{runs}' && mount -o remount,{options} '{runs}' && {{ {fill}; "
    script += f"cd '{suite.code}'; ./run_all.sh smoke --seed 3; }}"
    made = subprocess.run(["unshare", "-m", "bash", "-c", script], env=suite.env, capture_output=True, text=True)
    if "unshare" in made.stderr or "mount:" in made.stderr:
        pytest.skip("no mount here")
    assert made.returncode == 1, made.stderr
    assert f"{suite.folder}: cannot be written ({says}" in only_sentence(made.stdout + made.stderr)


def test_an_interrupt_at_any_moment_of_the_start(suite):
    """From the first tenth of a second on: no traceback, exit code 130 (or the signal's own), nothing left running."""
    for moment in (0.02, 0.07, 0.12, 0.2, 0.3, 0.45, 0.6):
        process = suite.start(script=True)
        time.sleep(moment)
        while process.poll() is None:  # while Python itself starts nobody listens
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.3)
        output = process.communicate()[0]
        assert process.returncode in (130, -signal.SIGINT), output
        assert "Traceback" not in output, moment
        assert "KeyboardInterrupt" not in output, moment
    assert processes_of(suite) == []


def test_a_pipe_that_is_closed(suite):
    write_notebook(suite.source("01_p/01_train"), "import time; time.sleep(1.5)")
    piped = f"set -o pipefail; {suite.code}/run_all.sh smoke --seed 3 | head -n 1"
    made = subprocess.run(["bash", "-c", piped], env=suite.env, capture_output=True, text=True)
    assert made.returncode == 128 + signal.SIGPIPE
    assert only_sentence(made.stdout).startswith("smoke-phantom-seed3: 1 notebooks")
    says = "run_all.sh: stopped, for nothing reads its output; to go on: ./run_all.sh smoke --seed 3"
    assert only_sentence(made.stderr) == says
    wait_for(lambda: processes_of(suite) == [], seconds=20)


def test_a_page_that_cannot_be_written(suite, code):
    suite.code = code
    (suite.root / "figures/smoke-phantom-seed3/index.html").mkdir(parents=True)
    code, output = suite.run()
    assert code == 1
    (line,) = [line for line in output.splitlines() if line.startswith("The page could not be written: ")]
    assert "index.html: could not be written (Is a directory)" in line
    assert line.endswith("To try again: python -m lib.report smoke-phantom-seed3")
    assert suite.record("01_p/01_train") is not None


def test_a_fork_server_that_is_killed(suite):
    own_server(suite)
    write_notebook(suite.source("01_p/01_train"), SLEEP)
    process = suite.start()
    wait_for((suite.root / "pids").exists)
    servers = [p for p in processes_of(suite) if "lib.runner.fork_server.server" in p.cmdline()]
    next(p for p in servers if p.parent().pid == process.pid).kill()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert "killed: 01_p/01_train" in output
    assert "its process was killed, perhaps for want of memory: run again, fewer at a time" in output


@pytest.mark.parametrize("forked", [True, False])
def test_a_kernel_that_is_killed(suite, forked):
    """As the system does for want of memory."""
    suite.env |= {} if forked else {"SUITE_FORK_SERVER": str(suite.root / "none")}
    write_notebook(suite.source("01_p/01_train"), "import os; os.kill(os.getpid(), 9)")
    code, output = suite.run()
    assert code == 1
    assert "01_p/01_train: its kernel was killed, perhaps for want of memory" in output
    assert "want of memory" in suite.record("01_p/01_train", "failed")["error"]


def test_temporary_folders_of_killed_runs_go(suite, code):
    suite.code = code
    own_server(suite)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # shorter than those of pytest
        _kill_and_run_again(suite, Path(folder))


def _kill_and_run_again(suite, temporary: Path) -> None:
    suite.env["TMPDIR"] = str(temporary)
    write_notebook(suite.source("01_p/01_train"), SLEEP)
    process = suite.start()
    wait_for((suite.root / "pids").exists)
    process.kill()
    process.communicate()
    wait_for(lambda: processes_of(suite) == [], seconds=20)
    assert [path.name.startswith(f"suite-{machine()}-") for path in temporary.iterdir()] == [True]
    (suite.root / "go").touch()
    left = suite.folder / "01_p" / f".a.{machine()}.0.{process.pid}.partial.h5"
    left.write_text("half")
    assert suite.run()[0] == 0
    assert list(temporary.iterdir()) == []
    assert not left.exists()


def printed(log: Path) -> str:
    """The first line of a log: after a notebook's last, libzmq and tornado may complain of sockets that are closed."""
    return log.read_text().splitlines(keepends=True)[0]


def test_threads_are_a_setting(suite):
    """Whatever the number of jobs and the machine's: rounding must not depend on it."""
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"]
    source = f"import os, torch; print({{n: os.environ[n] for n in {names}}}, torch.get_num_threads())"
    suite.env["OMP_NUM_THREADS"] = "2"
    write_notebook(suite.source("01_p/01_train"), source)
    said = set()
    for words in (["--jobs", "1"], ["--jobs", "3"]):
        suite.record_path("01_p/01_train").unlink(missing_ok=True)
        assert suite.run(*words)[0] == 0
        assert suite.record("01_p/01_train")["threads"] == 1
        said.add(printed(suite.folder / "log/01_p/01_train.log"))
    command = [sys.executable, "-m", "lib.runner", "01_p", "01_train", "--scale", "smoke", "--seed", "3"]
    env = {name: value for name, value in suite.env.items() if name != "SUITE_FORK_SERVER"}
    said.add(subprocess.run(command, cwd=suite.code, env=env, capture_output=True, text=True).stdout)
    assert said == {f"{dict.fromkeys(names, '1')} 1\n"}


def test_a_kernel_that_is_busy_when_its_notebook_ends_is_not_interrupted(suite):
    """jupyter_client interrupts before it shuts down; a kernel that had not yet put its last reply away said so."""
    source = """import time
    kernel = get_ipython().kernel
    answer = kernel.shell_handlers["kernel_info_request"]
    async def slowly(*message):
        await answer(*message)
        time.sleep(.5)
    kernel.shell_handlers["kernel_info_request"] = slowly
    print("the end")"""
    write_notebook(suite.source("01_p/01_train"), textwrap.dedent(f"    {source}"))
    assert suite.run()[0] == 0
    assert (suite.folder / "log/01_p/01_train.log").read_text() == "the end\n"


def test_how_far_it_is_and_when_it_ends(tmp_path, fork_server, pageless):
    notebooks = {f"0{k}_n": ((), "import time; time.sleep(1)") for k in range(1, 4)}
    suite = Suite(tmp_path, {"01_p": notebooks}, fork_server, pageless)
    lines = [line for line in suite.run("--jobs", "1")[1].splitlines() if "  done  " in line]
    assert [line.split(" MB  ")[1].split(",")[0] for line in lines] == ["1 of 3", "2 of 3", "3 of 3"]
    assert ", the last about " in lines[0]
    assert lines[2].endswith("3 of 3")


def test_a_damaged_file_is_made_again_by_the_same_command(tmp_path, fork_server, code, pageless):
    """An emptied CSV, an emptied executed copy, each of a notebook of its own: both are named, and mended."""
    make = "import pandas as pd; from lib.experiment.run import Run\nrun = Run('01_p', scale, cohort, seed)\n"
    made = make + "run.save('01_train/a.csv', pd.DataFrame({'a': [1, 2]}))"
    read = make + "print(pd.read_csv(run.need('01_train/a.csv')).a.sum())"
    papers = {"01_p": {"01_train": ((), made), "02_read": (("01_train",), read), "03_alone": ((), "print('alone')")}}
    suite = Suite(tmp_path, papers, fork_server, pageless)
    assert suite.run()[0] == 0
    table, copy = suite.folder / "01_p/01_train/a.csv", suite.folder / "executed/01_p/03_alone.ipynb"
    whole = table.read_bytes()
    for damaged in (table, copy):
        damaged.write_bytes(b"")
    says = [f"{damaged.relative_to(tmp_path)} is damaged (0 bytes of " for damaged in (table, copy)]
    planned = suite.run("--dry-run")[1]
    page = [sys.executable, "-m", "lib.report", "smoke-phantom-seed3"]
    subprocess.run(page, cwd=code, env=suite.env, check=True, capture_output=True)
    shown = (tmp_path / "figures/smoke-phantom-seed3/index.html").read_text()
    assert [(sentence in planned, sentence in shown) for sentence in says] == [(True, True)] * 2
    one = [sys.executable, "-m", "lib.runner", "01_p", "02_read", "--scale", "smoke", "--seed", "3"]
    failed = subprocess.run(one, cwd=code, env=suite.env, capture_output=True, text=True)
    assert says[0] in failed.stderr
    assert "./run_all.sh smoke 01_p --seed 3 makes it again" in failed.stderr
    assert suite.run()[0] == 0
    assert table.read_bytes() == whole
    assert json.loads(copy.read_text())["cells"]
    assert suite.run()[1].count("finished before") == 3
