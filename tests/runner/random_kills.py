"""Kill a smoke run at random moments, and compare what the resumed run leaves with an uninterrupted one.

    python -m tests.runner.random_kills [--kills 30] [--seed 0] [--papers 02_sun2021_vertebrae 05_osuala2024_dpsgd]
                                        [--disks 5] [--folder FOLDER]

Takes about 45 minutes on two cores, and is not part of `.ci/run`, which keeps a few kills. Each kill is of the whole
process tree, of the parent alone, or of one notebook's kernel. Whenever a run comes to its end it is compared and
begun anew, until all kills are spent. Then, as root, the same on a disk of 60 MB that fills. Exit code 1, with a line
for each difference, unless every CSV but learning curves, which hold times,
is byte-equal, no file is missing or left over, and no process survives.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.paths import ROOT

_DISK = 60 * 2**20
_LEFT = 20.0  # seconds that the processes of a killed run have to end


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a smoke run at random moments and compare what is left.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--disks", type=int, default=5, help="times that a disk fills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--papers", nargs="+", default=["02_sun2021_vertebrae", "05_osuala2024_dpsgd"])
    parser.add_argument("--folder", type=Path, help="where the copies are made; default: a temporary one")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    rng = random.Random(arguments.seed)
    whole = _copy(folder / "whole")
    started = time.monotonic()
    if _run(whole, arguments.papers).wait():
        print(f"the uninterrupted run failed: see {whole}/data/runs")
        return 1
    seconds = time.monotonic() - started
    print(f"uninterrupted: {seconds:.0f} s, {len(_files(whole))} files, {len(_csvs(whole))} CSVs", flush=True)
    faults = _with_kills(folder / "killed", whole, arguments.papers, arguments.kills, seconds, rng)
    if arguments.disks and os.geteuid() == 0:
        faults += _with_full_disks(folder / "full", whole, arguments.papers, arguments.disks, rng)
    elif arguments.disks:
        print("the disk that fills is left out: only root can mount one")
    print("\n".join(faults) or "no difference")
    if not faults and arguments.folder is None:
        shutil.rmtree(folder)
    return bool(faults)


def _with_kills(copy: Path, whole: Path, papers: list[str], kills: int, seconds: float, rng: random.Random) -> list:
    faults, spent, runs = [], 0, 0
    _copy(copy)
    while True:
        process = _run(copy, papers)
        after = rng.uniform(0.5, seconds / 3)  # so that most runs need several
        if spent < kills:
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                kind = rng.choice(["tree", "parent", "kernel"])
                where = _kill(process, kind, rng)
                spent += 1
                print(f"kill {spent}: {where}, after {after:.1f} s, exit code {process.wait()}", flush=True)
                faults += [f"kill {spent} ({kind}): {orphan} survives" for orphan in _orphans(copy)]
                continue
        code = process.wait()
        runs += 1
        faults += [f"run {runs}: exit code {code}"] if code else []
        found = [f"run {runs}: {difference}" for difference in _differences(whole, copy)]
        faults += found
        print("\n".join([*found, f"run {runs} came to its end, {spent} kills spent, {len(faults)} faults"]), flush=True)
        if spent >= kills:
            return faults
        _empty(copy)


def _with_full_disks(copy: Path, whole: Path, papers: list[str], times: int, rng: random.Random) -> list[str]:
    faults: list[str] = []
    _copy(copy)
    disk = copy / "data" / "runs"
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "none", str(disk)], check=True)
    try:
        for number in range(1, times + 1):
            room = rng.randrange(2**16, sum(path.stat().st_size for path in (whole / "data" / "runs").rglob("*.*")))
            ballast = disk / "ballast"
            with ballast.open("wb") as file:
                file.write(bytes(max(0, _DISK - room)))
            process = _run(copy, papers, output=subprocess.PIPE)
            says, code = process.communicate()[0].decode(), process.returncode
            where = f"disk {number}, with {room / 2**20:.1f} MB free"
            if code == 0 or "Traceback" in says:
                faults.append(f"{where}: exit code {code}\n{says[-1500:]}")
            ballast.unlink()
            code = _run(copy, papers).wait()
            faults += [f"{where}, then freed: exit code {code}"] if code else []
            faults += [f"{where}, then freed: {difference}" for difference in _differences(whole, copy)]
            print(f"{where}: {len(faults)} faults", flush=True)
            _empty(copy)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
    return faults


def _copy(copy: Path) -> Path:
    """A copy of the project's own files, without the committed results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in listed:
        if name and not name.startswith("figures/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def _empty(copy: Path) -> None:
    for folder in (copy / "figures", copy / "data" / "runs"):
        for path in folder.iterdir() if folder.exists() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run(copy: Path, papers: list[str], output=subprocess.DEVNULL) -> subprocess.Popen:
    environment = os.environ | {"PYTHON": sys.executable}
    for name in ("SUITE_ROOT", "SUITE_FORK_SERVER", "PYTHONPATH"):
        environment.pop(name, None)
    command = [str(copy / "run_all.sh"), "smoke", *papers]
    return subprocess.Popen(
        command, cwd=copy, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )


def _kill(process: subprocess.Popen, kind: str, rng: random.Random) -> str:
    """Kill what `kind` says, and say what it was."""
    parent = psutil.Process(process.pid)
    below = parent.children(recursive=True)
    if kind == "kernel":
        kernels = [child for child in below if "fork_server.server" in " ".join(_words(child))]
        if kernels:
            victim = rng.choice(kernels)
            _end(victim)
            try:  # the run tells of it and goes on with other notebooks
                process.wait(600)
            except subprocess.TimeoutExpired:
                _end(parent)
                return f"process {victim.pid} of {len(kernels)} of notebooks, and the run hung"
            return f"one process of {len(kernels)} of notebooks"
        kind = "tree"
    for victim in [parent, *(below if kind == "tree" else [])]:
        _end(victim)
    return "the whole tree" if kind == "tree" else "the parent alone"


def _end(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        pass


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _orphans(copy: Path) -> list[str]:
    """The processes of the copy that are still there when they have had time to end."""
    until = time.monotonic() + _LEFT
    while found := [" ".join(_words(p))[:200] for p in psutil.process_iter() if str(copy) in _places(p)]:
        if time.monotonic() > until:
            return found
        time.sleep(0.2)
    return []


def _places(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), process.cwd()]) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.Error:
        return ""


def _files(copy: Path) -> set[str]:
    """All that a run leaves, but for the log of Snakemake: a run that finds everything finished writes none."""
    paths = (path for folder in (copy / "figures", copy / "data") for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(copy)) for path in paths} - {"data/runs/smoke-phantom/log/snakemake.log"}


def _csvs(copy: Path) -> set[str]:
    """The tables of the copy, but for learning curves, which hold times."""
    return {name for name in _files(copy) if name.endswith(".csv") and not name.endswith("/curve.csv")}


def _differences(whole: Path, copy: Path) -> list[str]:
    """Files that one has and the other has not, and CSVs that are not byte-equal."""
    expected, found = _files(whole), _files(copy)
    differences = [f"{name} is missing" for name in sorted(expected - found)]
    differences += [f"{name} is left over" for name in sorted(found - expected)]
    for name in sorted(_csvs(whole) & found):
        if (whole / name).read_bytes() != (copy / name).read_bytes():
            differences.append(f"{name} differs")
    return differences


if __name__ == "__main__":
    sys.exit(main())
