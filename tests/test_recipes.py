"""The four recipes of docs/architecture.md, followed in a copy of the project: what they add runs, and is shown."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.slow

PAPER = {
    "notebooks/09_nobody2026_means/paper.yaml": """
title: Class means
cite: Nobody 2026
cohorts: {phantom: mass, public: nobody_set}
notebooks:
  01_train: []
  02_fidelity: [01_train]
settings:      # smoke  demo  paper
  patients:     [12,    24,   48]
items:
  tab_means: {notebook: 02_fidelity, shows: "mean grey of each class", published: null}
claims:
  N1: {kind: own, says: masses are bright, notebook: 02_fidelity, value: mean grey, claimed: "> 0"}
deviations:
  - {where: everything, what: a dummy, why: it proves the recipe, bears_on: [N1]}
""",
    "notebooks/09_nobody2026_means/01_train.ipynb": [
        "run = Run('09_nobody2026_means', scale, cohort, seed)\ns = run.settings",
        "if cohort == 'phantom':\n"
        "    cases = mass.draw(patients=s.patients, image_size=16, rng=numpy_generator(seed, 'cases'))\n"
        "else:\n"
        "    cases = run.open_cohort()\n"
        "means = {str(c): cases.images[:][cases.labels == c].mean(axis=0) for c in range(len(cases.label_names))}\n"
        "run.save('01_train/means.npz', means)",
    ],
    "notebooks/09_nobody2026_means/02_fidelity.ipynb": [
        "run = Run('09_nobody2026_means', scale, cohort, seed)",
        "with np.load(run.need('01_train/means.npz')) as means:\n"
        "    rows = [{'class': name, 'mean grey': float(mean.mean())} for name, mean in means.items()]\n"
        "run.table('tab_means', pd.DataFrame(rows), n=len(rows))\n"
        "grey = np.mean([row['mean grey'] for row in rows])\n"
        "run.claim('N1', value=grey, interval=(grey, grey), n='one draw')",
    ],
}
DATA_SET = {
    "lib/cohorts/public/nobody_set.py": '''
"""Twelve grey squares of six people: the smallest public set."""

from pathlib import Path

import h5py

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch

COHORTS = ("nobody_set",)
DIGESTS = {}


def sources() -> list[fetch.Source]:
    """Nothing is fetched."""
    return []


def prepare(folder: Path, out_folder: Path) -> list[Path]:
    """Write nobody_set.h5 from squares.h5 in `folder`; returns its path."""
    with h5py.File(Path(folder) / "squares.h5") as file:
        columns = [file[name][:] for name in ("images", "patient", "label", "split")]
    cohort = Cohort(*columns, name="nobody_set", label_names=("dark", "bright"))
    return [cohort.save(Path(out_folder) / "nobody_set.h5")]
''',
    "lib/cohorts/public/__init__.py": ('"cbis_ddsm": "cbis_ddsm",', '"nobody_set": "nobody_set",'),
}
GENERATOR = {
    "lib/models/gan/class_mean.py": '''
"""A generator without a latent space: the mean image of each class, and noise."""

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Noise (n, s, s) and labels (n,) to images (n, 1, s, s) in [-1, 1]."""

    def __init__(self, classes: int, image_size: int):
        super().__init__()
        self.means = nn.Parameter(torch.zeros(classes, image_size, image_size))

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return (self.means[labels] + 0.05 * noise)[:, None]
''',
    "lib/training/gan/class_mean.py": '''
"""Training of lib.models.gan.class_mean by least squares."""

from typing import Self

import numpy as np
import torch
from torch import Tensor

from lib.core import seeding
from lib.models.gan.class_mean import Generator
from lib.training.gan.sampling import TrainedGenerator, class_labels, drawn, normal_noise
from lib.training.loop.dataset import uint8_squares
from lib.training.loop.trainer import Trainer, restored, run_training


class ClassMean(TrainedGenerator):
    """The mean image of each class."""

    name = "class_mean"
    generator: Generator

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Self:
        return cls(restored(lambda: Generator(2, settings["image_size"]), "generator", tensors, device), settings)

    def sample(self, n: int, *, labels=None, seed: int, batch: int = 256) -> np.ndarray:
        """As `TrainedGenerator.sample`; labels: (n,) 0 or 1."""
        size = self.settings["image_size"]
        noise = normal_noise(n, size * size, seed, "class mean").view(n, size, size)
        return drawn(self.generator, noise, class_labels(labels, n, 2), batch=batch, device=self.device)


def train_class_mean(images, labels, *, path, seed: int, steps: int, device=None, progress=None) -> ClassMean:
    """Fit the mean of each class."""
    device = device or seeding.device()
    examples = uint8_squares(images, labels, device="cpu", channels=1)
    size = examples.values.shape[-1]
    settings = {"model": ClassMean.name, "image_size": size, "steps": steps, "batch": len(examples.labels)}
    settings |= {"seed": seed, "data": examples.digest}
    tensors = run_training(
        lambda: ClassMeanTrainer(examples, settings, device), name="class mean", path=path, settings=settings,
        steps=steps, progress=progress,
    )  # fmt: skip
    return ClassMean.restored(tensors, settings, device)


class ClassMeanTrainer(Trainer):
    """The generator and its optimiser."""

    stream = "class mean"

    def __init__(self, examples, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.examples = examples
        self.generator = self.place(Generator(2, settings["image_size"]))
        self.networks = {"generator": self.generator}
        self.optimisers = {"generator": torch.optim.Adam(self.generator.parameters(), lr=0.1)}

    def train_step(self, step: int) -> dict[str, Tensor]:
        """One update of the means."""
        wanted, labels = self.examples.inputs(slice(None)), self.examples.labels
        made = self.generator(torch.zeros_like(wanted[:, 0]), labels)
        return {"loss": self.minimise("generator", (made - wanted).square().mean())}
''',
    "lib/training/gan/registry.py": (
        "from lib.training.gan.dcgan import DCGAN, train_dcgan",
        "from lib.training.gan.class_mean import ClassMean, train_class_mean",
        "register(DCGAN, train_dcgan)",
        "register(ClassMean, train_class_mean)",
    ),
    "notebooks/comparison/paper.yaml": (
        "  generators:",
        "  class_mean: [{steps: 60}, {steps: 60}, {steps: 60}]",
    ),
}
MEASURE = {
    "lib/metrics/diversity/pixel_spread.py": '''
"""How far images are from their mean."""

import numpy as np
from numpy.typing import ArrayLike


def pixel_spread(images: ArrayLike) -> np.ndarray:
    """Of each of images (n, h, w) the root mean square over pixels of its difference from the mean image (n,)."""
    images = np.asarray(images, float)
    return np.sqrt(((images - images.mean(axis=0)) ** 2).mean(axis=(1, 2)))
''',
    "lib/comparison/measures.py": (
        "from lib.metrics.diversity.prdc import Inside, inside",
        "from lib.metrics.diversity.pixel_spread import pixel_spread",
        '_BOTH = "patients and origins"',
        """

def _pixel_spread(of: Compared, name: str) -> Interval:
    spread = WeightedRatio(pixel_spread(of.sets[name].images[:]))  # a value an image: the mean of resampled patients
    return bootstrap(spread, groups=of.sets[name].patient, **of.draws("origins"))


MEASURES.register(Measure(name="pixel spread", group="diversity", better="higher", evaluate=_pixel_spread))""",
    ),
}


def notebook(cells: list[str]) -> str:
    imports = "import numpy as np\nimport pandas as pd\n\nfrom lib.cohorts.phantoms import mass\n"
    imports += "from lib.core.seeding import numpy_generator\nfrom lib.experiment.run import Run"
    parameters = "scale = 'demo'\ncohort = 'phantom'\nseed = 0"
    sources = [imports, parameters, *cells, "run.check('something is there', len(run.name) > 0)"]
    tags = {1: ["parameters"], len(sources) - 1: ["check"]}
    code = [
        {
            "cell_type": "code",
            "id": f"cell{i}",
            "metadata": {"tags": tags[i]} if i in tags else {},
            "source": of.replace("'", '"'),  # as the formatter has it
            "outputs": [],
            "execution_count": None,
        }
        for i, of in enumerate(sources)
    ]
    text = [{"cell_type": "markdown", "id": f"text{i}", "metadata": {}, "source": "A dummy."} for i in (0, 1)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": [text[0], *code, text[1]], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def follow(project: Path, recipe: dict) -> None:
    """Make the new files of a recipe, and add to old ones: pairs of a line and what follows it."""
    for name, content in recipe.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content.lstrip("\n"))
        elif isinstance(content, list):
            path.write_text(notebook(content))
        else:
            text = path.read_text()
            for line, added in zip(content[::2], content[1::2], strict=True):
                assert line in text, f"{name} has no {line!r}: the recipe is out of date"
                at = text.index("\n", text.index(line)) + 1
                text = text[:at] + added + "\n" + text[at:]
            path.write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project in which all four recipes were followed."""
    copy = tmp_path_factory.mktemp("project")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in listed:
        if name and not name.startswith("figures/") and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for recipe in (PAPER, DATA_SET, GENERATOR, MEASURE):
        follow(copy, recipe)
    settings = copy / "notebooks" / "comparison" / "paper.yaml"
    text = settings.read_text()
    row = next(line for line in text.splitlines() if line.startswith("  generators:"))
    others = re.search(r"\{(ProGAN: .*?)\}", row)[1]
    assert "MCGAN: dcgan" in others  # which stays, beside the new one, so that three need not be trained
    settings.write_text(text.replace(row, row.replace(others, "class mean: class_mean, MCGAN: dcgan")))
    return copy


@pytest.fixture(scope="module")
def run(project, fork_server):
    """What a command in the project says; its notebooks are forked from a process that has imported the libraries."""
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    environment |= {"SUITE_FORK_SERVER": fork_server}
    environment.pop("SUITE_ROOT", None)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run


def test_a_recipe_takes_a_handful_of_files():
    assert len(GENERATOR) <= 4
    assert len(MEASURE) <= 3
    assert len(DATA_SET) <= 3


def test_a_sixth_paper_runs_and_is_on_the_page(project, run):
    run("./run_all.sh", "smoke", "09_nobody2026_means")
    figures = project / "figures" / "smoke-phantom"
    assert len(pd.read_csv(figures / "09_nobody2026_means" / "tab_means.csv")) == 2
    assert "Class means" in (figures / "index.html").read_text()
    run(sys.executable, "-m", "pytest", "-q", "tests/test_structure.py", "-k", "nobody2026")


def test_a_data_set_is_prepared_and_opened_by_a_run(project, run, tmp_path):
    patient = np.repeat(np.arange(6), 2)
    images = np.full((12, 8, 8), 10, np.uint8)
    images[patient % 2 == 1] = 200
    with h5py.File(tmp_path / "squares.h5", "w") as file:
        file["images"], file["patient"] = images, patient
        file["label"], file["split"] = patient % 2, patient // 2
    run(sys.executable, "-m", "lib.cohorts", "prepare", "nobody_set", "--from", str(tmp_path))
    run("./run_all.sh", "smoke", "09_nobody2026_means", "--cohort", "public")
    made = pd.read_csv(project / "figures" / "smoke-public" / "09_nobody2026_means" / "tab_means.csv")
    np.testing.assert_allclose(made["mean grey"], [10, 200])


def test_a_generator_and_a_measure_are_compared(project, run):
    for name in ("01_train", "01_train_sets", "03_diversity"):
        said = run(sys.executable, "-m", "lib.runner", "comparison", name, "--scale", "smoke")
        assert "no fork server here" not in said
    table = pd.read_csv(project / "figures" / "smoke-phantom" / "comparison" / "tab_d1_diversity.csv").set_index("set")
    with h5py.File(project / "data/runs/smoke-phantom/comparison/01_train_sets/class mean.h5") as file:
        images = file["images"][:].astype(float)
    expected = np.sqrt(((images - images.mean(axis=0)) ** 2).mean(axis=(1, 2))).mean()
    low, value, high = table.loc["class mean", ["pixel spread_low", "pixel spread", "pixel spread_high"]]
    assert value == pytest.approx(expected)
    assert low < value < high
    assert table["pixel spread"].notna().all()


def test_the_generator_is_loaded_and_sampled_by_its_name(project, preloaded):
    folder = project / "data/runs/smoke-phantom/comparison/01_train/class mean"
    code = (
        "from lib import generators; import numpy as np; "
        f"made = generators.load({str(folder)!r}).sample(4, labels=[0, 1, 0, 1], seed=0); "
        "print(made.shape, made.dtype)"
    )
    made = preloaded.run(code, folder=project)
    assert made.stdout.strip().splitlines()[-1:] == ["(4, 16, 16) uint8"], made.stderr
