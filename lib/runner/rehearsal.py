"""`./run_all.sh paper --rehearse`: what the scale paper would cost here, and what of it cannot run.

Networks, image sizes, batches and lengths of trainings are the published ones. Every training runs for a few steps, and
all metrics on one part of the images and on two, of as many parts as paper.yaml says (`lib.experiment.rehearsal`). A
network that would be long over the images of a part sees some of them, and the rest of that time is added.
Two points make a line: time without trainings, memory and disk are taken to grow by each part as much as by the second.
What counts repetitions multiplies time and disk. Trainings are taken one after another.
"""

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lib.core.files import atomic
from lib.core.json_objects import parse_object
from lib.core.paths import root
from lib.runner.plan import Notebook

# What large tensors take is given back at once, so that a part more is seen in the memory of a process.
_VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(2**20), "MALLOC_TRIM_THRESHOLD_": str(2**20), "MALLOC_TOP_PAD_": "0"}
_H100 = 0.3 * 989e12  # operations a second in bf16: three tenths of what NVIDIA states for dense matrices
_HEADER = ("notebook", "trainings, h", "the rest, h", "one H100, h", "memory, GB", "disk, GB")


@dataclass(frozen=True)
class Cost:
    """What a notebook costs at the published numbers: hours of its trainings and of the rest, bytes."""

    notebook: str
    training: float
    rest: float
    memory: float
    disk: float


def rehearse(run: Callable[[], tuple[Sequence[Notebook], int]]) -> int:
    """Have `run` execute all notebooks on one part and on two, and print their cost; its exit code where it fails."""
    os.environ |= _VARIABLES
    taken: list[dict[str, dict]] = []
    began = time.monotonic()
    for number in (1, 2):
        os.environ["SUITE_REHEARSAL"] = str(number)
        notebooks, code = run()
        if code:
            return code
        taken.append({str(notebook): _taken(notebook) for notebook in notebooks})
    costs = []
    for notebook in notebooks:
        name, of = str(notebook), notebook.declared
        repeated = of.rehearsal.repetitions(of.published_settings)
        costs.append(cost(name, taken[0][name], taken[1][name], parts=of.rehearsal.parts, repetitions=repeated))
    print(_report(costs, minutes=(time.monotonic() - began) / 60), flush=True)
    return 0


def cost(name: str, first: dict, second: dict, *, parts: int, repetitions: int) -> Cost:
    """The cost of all `parts` by what one part took, `first`, and two, `second`.

    Each has "rest", the seconds without trainings, "peak" and "end", bytes of memory, "disk", bytes, and "trainings" as
    `lib.training.loop.rehearsal` notes them.
    """

    def whole(one: float, two: float) -> float:
        return one + max(two - one, 0) * (parts - 1)

    seconds = 0.0
    for kind in {of["name"] for of in second["trainings"]}:
        here = [of["whole"] * (parts / 2 if of["by_image"] else 1) for of in second["trainings"] if of["name"] == kind]
        before = sum(of["name"] == kind for of in first["trainings"])
        seconds += whole(before, len(here)) * sum(here) / len(here)
    held = max(second["end"] - first["end"], 0)
    return Cost(
        name,
        training=repetitions * seconds / 3600,
        rest=repetitions * whole(first["rest"], second["rest"]) / 3600,
        memory=whole(first["peak"], max(second["peak"], first["peak"] + held)),
        disk=repetitions * whole(first["disk"], second["disk"]),
    )


def trainings_file(notebook: Notebook) -> tuple[Path, int]:
    """Where a notebook notes its rehearsed trainings, and how many are noted from a try that was interrupted.

    What an earlier try left by other code is removed: its trainings would be found, and never measured.
    """
    digest = hashlib.sha256(json.dumps(notebook.sources, sort_keys=True).encode()).hexdigest()[:12]
    file = notebook.log.with_name(f"{notebook.name}.{digest}.trainings")
    if not file.exists():
        shutil.rmtree(notebook.record("done").parent, ignore_errors=True)
        for old in file.parent.glob(f"{notebook.name}.*.trainings"):
            old.unlink()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return file, len(file.read_text(encoding="utf-8").splitlines())


def noted_trainings(file: Path, before: int) -> list[dict]:
    """The trainings noted in `file`; the first `before` were not trained in this try, and took nothing of its time."""
    noted = [parse_object(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [of | {"spent": 0.0} if number < before else of for number, of in enumerate(noted)]


def _taken(notebook: Notebook) -> dict:
    record = notebook.read("done")
    return {
        "rest": record["seconds_in_cells"] - sum(of["spent"] for of in record["trainings"]),
        "peak": 1e6 * record["peak_memory_mb"], "end": 1e6 * record["end_memory_mb"],
        "disk": sum(of["size"] for of in record["files"].values()), "trainings": record["trainings"],
    }  # fmt: skip


def _report(costs: Sequence[Cost], *, minutes: float) -> str:
    """The table, how the H100's hours come about, and what cannot run here; the table is written as CSV, too."""
    here = _operations_a_second()
    rows = [
        (of.notebook, of.training, of.rest, of.training * here / _H100 + of.rest, of.memory / 1e9, of.disk / 1e9)
        for of in costs
    ]
    training, rest, there, memory, disk = zip(*(row[1:] for row in rows), strict=True)
    rows.append(("all", sum(training), sum(rest), sum(there), max(memory), sum(disk)))
    file = root() / "data" / "runs" / "rehearsal.csv"
    with atomic(file) as partial, open(partial, "w", encoding="utf-8", newline="") as content:
        csv.writer(content).writerows([_HEADER, *rows])
    width = max(len(row[0]) for row in rows)
    lines = ["  ".join([f"{_HEADER[0]:{width}}", *_HEADER[1:]])]
    for name, *values in rows:
        cells = (f"{_short(value):>{len(title)}}" for value, title in zip(values, _HEADER[1:], strict=True))
        lines.append("  ".join([f"{name:{width}}", *cells]))
    lines += [
        "",
        f"Rehearsed in {minutes:.0f} minutes; the same as CSV: {os.path.relpath(file, root())}",
        f"One H100: not measured. Trainings by the operations a second of a convolution, here {here / 1e9:,.0f} "
        f"thousand million, there {_H100 / 1e12:,.0f} million million (.3 of 989); the rest as here.",
    ]
    return "\n".join(lines + refusals(rows, memory=psutil.virtual_memory().total, disk=shutil.disk_usage(root()).free))


def refusals(rows: Sequence[tuple], *, memory: float, disk: float) -> list[str]:
    """Why some of the table's rows cannot run where there are `memory` and `disk` bytes; none where all can."""
    found = [
        f"Cannot run here: {name} needs {_short(needs)} GB of memory, and there are {memory / 1e9:.0f}"
        for name, *_, needs, _ in rows[:-1]
        if 1e9 * needs > memory
    ]
    if 1e9 * rows[-1][5] > disk:
        found.append(f"Cannot run here: all need {_short(rows[-1][5])} GB of disk, and {disk / 1e9:.0f} are free")
    return found


def _operations_a_second() -> float:
    """Of a convolution of 256 to 256 channels at 32 px, 3 × 3, of 16 images, forward and backward, in float32."""
    import torch  # which a command that only reads a paper.yaml would wait for
    import torch.nn.functional as F

    images = torch.randn(16, 256, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.randn(256, 256, 3, 3, requires_grad=True)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        F.conv2d(images, weights, padding=1).sum().backward()
        times.append(time.perf_counter() - began)
    return 3 * 2 * 16 * 32**2 * 256**2 * 9 / min(times)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"
