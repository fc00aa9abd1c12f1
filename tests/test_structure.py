"""What the source must be like: imports, docstrings, the contents of notebooks, what is declared, what is committed.

A rule on source text is a function that returns what breaks it; each is tried on a text that breaks it and on one that
does not, before it is held against the suite.
"""

import ast
import csv
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from lib.comparison import methods
from lib.comparison.attacks import ATTACKS
from lib.comparison.measures import MEASURES
from lib.experiment.paper import known_papers, load_paper
from tests.paths import ROOT

NOTEBOOKS = sorted(ROOT.glob("notebooks/*/*.ipynb"))
MODULES = sorted((ROOT / "lib").rglob("*.py"))

# What each part of lib may import from lib, as the design has it. A part may always import from itself.
GROUND = {"core", "statistics", "cohorts", "models"}
MEASURING = GROUND | {"metrics", "features", "training", "anonymise", "generators"}
ALLOWED = {
    "core": set(),
    "statistics": {"core"},
    "cohorts": {"core"},
    "models": {"core"},
    "plots": {"core", "statistics"},
    "metrics": {"core", "statistics"},
    "training": GROUND,
    "features": {"core", "models", "metrics", "training"},
    "anonymise": GROUND | {"training"},
    "generators": GROUND | {"training"},
    "comparison": MEASURING,
    "experiment": {"core", "cohorts", "statistics"},
    "audit": MEASURING | {"plots", "experiment"},
    "release": MEASURING | {"audit"},
    "runner": {"core", "experiment"},
    "report": {"core", "experiment", "runner", "statistics"},
}
BANNED = {"torchvision", "pickle", "SimpleITK", "monai"}


PAPERS = ("han2019", "sun2021", "montenegro2021", "pennisi2023", "osuala2024")
COMPARISON = load_paper(ROOT / "notebooks" / "comparison").settings
GENERATORS = {title: kind for column in COMPARISON["generators"] for title, kind in column.items()}  # of every scale
METHODS = {*GENERATORS, *(method.name for method in methods.METHODS)}
COMPARED = METHODS | {entry.name for registry in (ATTACKS, MEASURES) for entry in registry}

# What a notebook may not call, by its full name or the beginning of it. The cell tagged `check` may: there another
# implementation checks ours.
NETWORK = ("torch.nn.functional.conv", "torch.nn.functional.linear", "torch.nn.functional.batch_norm",
           "torch.nn.functional.layer_norm", "torch.nn.functional.scaled_dot_product_attention")  # fmt: skip
METRIC = {
    "sklearn.metrics.": "lib.metrics, lib.statistics.roc",
    "skimage.metrics.": "lib.metrics.diversity.ms_ssim",
    "torchmetrics.": "lib.metrics",
    "sklearn.neighbors.": "lib.metrics.neighbours.search.nearest",
    "scipy.spatial.KDTree": "lib.metrics.neighbours.search.nearest",
    "scipy.spatial.cKDTree": "lib.metrics.neighbours.search.nearest",
    "scipy.linalg.sqrtm": "lib.metrics.fidelity.frechet",
    "scipy.linalg.eigh": "lib.metrics.fidelity.frechet",
    "numpy.cov": "lib.metrics.fidelity.frechet",
    "torch.cov": "lib.metrics.fidelity.frechet",
    "numpy.linalg.eig": "lib.metrics.fidelity.frechet",
    "torch.linalg.eig": "lib.metrics.fidelity.frechet",
    "numpy.trapezoid": "lib.statistics.roc",
    "numpy.trapz": "lib.statistics.roc",
    "scipy.stats.mannwhitneyu": "lib.statistics.roc",
    "scipy.stats.ks_2samp": "lib.statistics",
    "scipy.stats.permutation_test": "lib.statistics.permutation",
    "scipy.stats.bootstrap": "lib.statistics.bootstrap",
    "scipy.stats.t.": "lib.statistics.seeds",
    "scipy.stats.wasserstein_distance": "lib.metrics.fidelity",
}
DRAWING = {"matplotlib", "pylab", "seaborn", "plotly", "bokeh", "altair"}


# Many rules ask the same of the same text.
parsed = cache(ast.parse)
paper_of = cache(load_paper)


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imported(code: str):
    """The modules that `code` imports, by their full names."""
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            if node.module in ("lib", "torch"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_against_the_table(code: str, own: str) -> list[str]:
    """Imports that part `own` of lib may not make."""
    return [
        name
        for name in imported(code)
        if name.startswith(".")
        or name.split(".")[0] in BANNED
        or (name.startswith("lib.") and part(name) != own and part(name) not in ALLOWED[own])
    ]


def faults_of_docstrings(code: str) -> list[str]:
    """Docstrings that are absent where they are needed, unwritten, or whose first line is not a line of its own."""
    found = []
    for node in ast.walk(tree := parsed(code)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        name, text = getattr(node, "name", "module"), ast.get_docstring(node)
        if not text:
            if node is tree or (node in tree.body and not name.startswith("_")):
                found.append(f"{name}: no docstring")
            continue
        first, *rest = text.splitlines()
        if re.search(r"\bto be (said|written|done)\b", text, re.I):
            found.append(f"{name}: a docstring that is still to be written")
        if not first.endswith((".", "?")) or (rest and rest[0]):
            found.append(f"{name}: the first line is one line, and ends in a period or a question mark: {first}")
    return found


@cache
def calls(code: str) -> list[str]:
    """The functions that `code` calls, by their full names as far as its imports tell them."""
    tree, known, found = parsed(code), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            head, *rest = ast.unparse(node.func).split(".")
            found.append(".".join([known.get(head, head), *rest]))
    return found


def networks(code: str) -> list[str]:
    """Networks built in `code`: a class, anything of torch.nn but its plain functions, and layers as functions."""
    found = [f"class {node.name}" for node in ast.walk(parsed(code)) if isinstance(node, ast.ClassDef)]
    found += [name for name in imported(code) if re.match(r"torch\.nn(?!\.functional)", name)]
    return found + [name for name in calls(code) if re.match(r"torch\.nn\.[A-Z]", name) or name.startswith(NETWORK)]


def training_loops(code: str) -> list[str]:
    """Signs of training in `code`: an optimiser, its steps, and gradients of parameters."""
    found = [name for name in imported(code) if name.startswith("torch.optim")]
    steps = r"torch\.optim\.|.*\.(backward|zero_grad)$|.*(optimi[sz]er|opt|scheduler|scaler|trainer)\w*\.step$"
    return found + [name for name in calls(code) if re.match(steps, name)]


def second_metrics(code: str) -> list[str]:
    """Calls in `code` of another implementation of what lib measures."""
    return [f"{name}: {ours}" for name in calls(code) for theirs, ours in METRIC.items() if name.startswith(theirs)]


def drawing(code: str) -> list[str]:
    """Ways to draw in `code` that go round `lib.plots`."""
    found = [name for name in imported(code) if name.split(".")[0] in DRAWING]
    return found + [name for name in calls(code) if re.search(r"\bplt\.", name)]


def writing(code: str) -> list[str]:
    """Ways to write a file in `code` that go round `Run.save`: a killed one leaves half a file under its final name."""
    past_run = r".*\.(to_(csv|json|parquet|pickle|hdf|excel|feather)|write_(text|bytes)|savefig|tofile)$|(.*\.)?open$"
    past_run += r"|(numpy|torch)\.save|json\.dump$|(?!run\.).*\.save$"
    reads = {"Cohort.open", "Predictions.open"}
    return [name for name in calls(code) if re.match(past_run, name) and not name.endswith(tuple(reads))]


def open_gates(code: str) -> list[str]:
    """Calls in `code` that say by themselves what the gate says of a generator: open it, or declare it passed."""
    return [
        ast.unparse(node)
        for node in ast.walk(parsed(code))
        if isinstance(node, ast.keyword) and node.arg == "shortfalls" and not any(
            isinstance(inside, (ast.Name, ast.Attribute)) for inside in ast.walk(node.value)
        )
    ]  # fmt: skip


def tables_of_names(code: str, names: set[str], *, most: int) -> list[str]:
    """Literals in `code` that list more than `most` of `names`: a registry holds them."""
    found = []
    for node in ast.walk(parsed(code)):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            inside = node.elts
        elif isinstance(node, ast.Dict):
            inside = [*node.keys, *node.values]
        else:
            continue
        if len({leaf.value for leaf in inside if isinstance(leaf, ast.Constant)} & names) > most:
            found.append(ast.unparse(node))
    return found


CLEAN = """
import numpy as np
import torch
import torch.nn.functional as F
from lib import plots
from lib.experiment.run import Run
from lib.statistics.roc import auroc

def saliency(images):
    return torch.autograd.grad(finding(images).sum(), images)[0]

figure, axes = plots.canvas(height=40)
axes["a"].plot(steps, auroc(labels, scores))
near = F.unfold(images, 3).unflatten(1, (9, -1))
cohort = Cohort.open(run.need("01_train/cohort.h5"))
run.save("02_fidelity/scores.npz", scores)
run.record("C1", gain, nulls=nulls, shortfalls=gate.why.tolist())
run.step("train"), np.corrcoef(response.T), np.linalg.norm(points, axis=1)
for name, images in sets.items():
    shown = ("PLAN", "linear walk", images.mean())
"""


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (networks, "class Net: pass"),
        (networks, "import torch.nn as nn"),
        (networks, "from torch import nn"),
        (networks, "from torch.nn import Linear"),
        (networks, "import torch\nnet = torch.nn.Sequential()"),
        (networks, "import torch.nn.functional as F\nout = F.conv2d(x, w)"),
        (training_loops, "loss.backward()"),
        (training_loops, "sum(losses).mean().backward()"),
        (training_loops, "optimiser.step()"),
        (training_loops, "optimizer_g.step()"),
        (training_loops, "net.zero_grad()"),
        (training_loops, "import torch\nopt = torch.optim.Adam(net.parameters())"),
        (training_loops, "from torch.optim import SGD"),
        (training_loops, "from torch import optim"),
        (second_metrics, "from sklearn.metrics import roc_auc_score\nroc_auc_score(a, b)"),
        (second_metrics, "from sklearn import metrics\nmetrics.roc_curve(a, b)"),
        (second_metrics, "import sklearn.metrics\nsklearn.metrics.confusion_matrix(a, b)"),
        (second_metrics, "from skimage.metrics import structural_similarity as ssim\nssim(a, b)"),
        (second_metrics, "import scipy.linalg as la\nla.sqrtm(a)"),
        (second_metrics, "import numpy as np\nnp.linalg.eigh(np.cov(x))"),
        (second_metrics, "from scipy.stats import mannwhitneyu\nmannwhitneyu(a, b)"),
        (second_metrics, "from sklearn.neighbors import NearestNeighbors\nNearestNeighbors().fit(x)"),
        (drawing, "import matplotlib.pyplot as plt"),
        (drawing, "from matplotlib.patches import Circle"),
        (drawing, "import seaborn as sns"),
        (drawing, "from lib.plots import charts\ncharts.plt.figure()"),
        (open_gates, 'run.record("C1", gain, nulls=nulls, shortfalls=None)'),
        (open_gates, 'run.record("C1", gain, nulls=nulls, shortfalls=[])'),
        (writing, 'table.to_csv(run.path("01_train/table.csv"))'),
        (writing, 'import numpy as np\nnp.savez(run.path("01_train/a.npz"), **arrays)'),
        (writing, 'import torch\ntorch.save(weights, run.path("01_train/net.pt"))'),
        (writing, 'cohort.save(run.path("01_train/cohort.h5"))'),
        (writing, 'Cohort(images, who, labels, split).save(run.path("01_train/cohort.h5"))'),
        (writing, 'run.path("01_train/said").write_text(says)'),
        (writing, 'with open(run.path("01_train/said"), "w") as file: pass'),
    ],
)
def test_a_rule_of_notebooks_is_seen_broken_and_kept(rule, code):
    assert rule(code)
    assert rule(CLEAN) == []


@pytest.mark.parametrize(
    "code",
    [
        'for name in ("ProGAN", "PLAN"): pass',
        'ranks = {"ProGAN": 1, "k-Same": 2}',
        'sets["ProGAN"], best = a, ["MCGAN", other, "LCI"]',
    ],
)
def test_a_table_of_methods_is_seen(code):
    assert tables_of_names(code, METHODS, most=1)
    assert tables_of_names(code, METHODS, most=2) == []
    assert tables_of_names('rows = [("PLAN", a), ("LCI", b)]', METHODS, most=1) == []  # in literals of their own


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ("core", "from lib.statistics import roc"),
        ("metrics", "import lib.models.gan.dcgan"),
        ("cohorts", "from lib import training"),
        ("models", "from .layers import convolution"),
        ("training", "import torchvision"),
        ("report", "from lib.metrics.privacy import power"),
        ("training", "from lib.generators import load"),
        ("experiment", "from lib.comparison.methods import METHODS"),
    ],
)
def test_a_forbidden_import_is_seen(own, code):
    assert imports_against_the_table(code, own)
    assert imports_against_the_table(f"import numpy as np\nfrom lib.{own} import x\nfrom lib import {own}", own) == []


def test_the_table_of_imports_is_that_of_the_design():
    for own, others in {"experiment": "cohorts", "audit": "training", "comparison": "generators"}.items():
        assert imports_against_the_table(f"from lib.{others} import x", own) == []
    order = list(ALLOWED)
    assert all(order.index(other) < order.index(own) for own, others in ALLOWED.items() for other in others)


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        '"""A module."""\ndef public(): pass',
        '"""To be said."""',
        '"""A module.\n\nThe rest is to be written.\n"""',
        '"""A first line that goes on\nin the next one."""',
        '"""No period"""',
        '"""A module."""\nclass _Own:\n    def inner(self):\n        """Counts: (n,)"""',
    ],
)
def test_a_fault_of_a_docstring_is_seen(code):
    assert faults_of_docstrings(code)
    kept = '"""A module.\n\nMore of it"""\ndef known():\n    """Is it known?"""\ndef _own(): pass'
    assert faults_of_docstrings(kept) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = path.relative_to(ROOT / "lib").parts[0].removesuffix(".py")
    if own != "__init__":
        assert imports_against_the_table(path.read_text(encoding="utf-8"), own) == []


# What reads a file of a kind that may be hostile, and the one module (or two) that may call it: it has the checks.
GUARDED = {
    # The latter two to write.
    "h5py.File": {"lib/cohorts/io/hdf5.py", "lib/cohorts/cohort.py", "lib/cohorts/public/pgan_release.py"},
    # The latter two what the suite has drawn.
    "PIL.Image.open": {"lib/cohorts/io/image_files.py", "lib/experiment/products.py", "lib/report/reference.py"},
    "pydicom.dcmread": {"lib/cohorts/io/dicom_files.py"},
    "nibabel.load": {"lib/cohorts/io/nifti_files.py"},
    "torch.load": {
        "lib/training/loop/checkpoint.py",
        "lib/models/pretrained/weights.py",
        "lib/models/pretrained/inception.py",
    },
}


def unguarded(code: str, path: str) -> list[str]:
    """Calls in the module at `path` that only another module may make, and unguarded options of those."""
    found = [name for name in calls(code) if path not in GUARDED.get(name, {path})]
    found += ["h5py.File to read"] * len(re.findall(r'\bh5py\.File\((?![^()]*"w"\))', code))
    found += [name for name in imported(code) if name in ("h5py.File", "PIL.Image.open", "torch.load")]
    return found + [option for option in ("weights_only=False", "allow_pickle=True") if option in code]


def test_an_unguarded_call_is_seen():
    for code in (
        "import h5py\nh5py.File(path)",
        'import h5py\nh5py.File(path, "w")',
        "import h5py as h\nh.File(path)",
        "from h5py import File\nFile(path)",
        "from PIL import Image\nImage.open(path)",
        "import pydicom\npydicom.dcmread(path)",
        "import nibabel\nnibabel.load(path)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
    ):
        assert unguarded(code, "lib/audit/x.py"), code
    both = 'import h5py\nh5py.File(a, "w")\n'
    assert unguarded(both, "lib/cohorts/cohort.py") == []
    assert unguarded(both + "h5py.File(a)", "lib/cohorts/cohort.py")
    assert unguarded("from lib.cohorts.io import hdf5\nhdf5.received(path)", "lib/audit/x.py") == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_received_files_are_opened_by_their_one_module(path):
    relative = str(path.relative_to(ROOT))
    allowed = ["h5py.File to read"] * (relative == "lib/cohorts/io/hdf5.py")
    assert unguarded(path.read_text(encoding="utf-8"), relative) == allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_small_and_knows_no_paper(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    code = ast.unparse(parsed(text)).lower()
    assert [paper for paper in PAPERS if paper in code] == []
    assert path.stem not in {"utils", "helpers", "common", "base", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_everything_public_is_documented(path):
    text = path.read_text(encoding="utf-8")
    if text.strip():  # an empty __init__.py is only the mark of a package
        assert faults_of_docstrings(text) == []


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(path, "code"))


def tagged(path: Path, tag: str) -> list[str]:
    return ["".join(c["source"]) for c in cells(path, "code") if tag in c["metadata"].get("tags", [])]


def settings_in(code: str) -> set[str]:
    """The settings that `code` reads: `run.seeds` is made of the setting of that name."""
    return set(re.findall(r"\b(?:s|settings)\.([a-z_]+)", code.replace("run.seeds", "s.seeds")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
class TestNotebook:
    def test_is_stored_without_outputs(self, path):
        for cell in cells(path, "code"):
            assert cell["outputs"] == []
            assert cell["execution_count"] is None

    def test_is_plain(self, path):
        code = source(path)
        every = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert every[0]["cell_type"] == "markdown"
        assert every[-1]["cell_type"] == "markdown"
        parsed(code)  # shell magic is not Python, so it fails here
        assert "sys.path" not in code
        assert not re.search(r"[\"'](/|~|\.\./)", code), "absolute or relative path"

    @pytest.mark.parametrize("rule", [networks, training_loops, drawing, writing])
    def test_holds_ideas_and_no_machinery(self, path, rule):
        assert rule(source(path)) == []

    def test_asks_the_gate_of_what_it_measures(self, path):
        # A2_blind is of a set of real units, which no generator drew.
        known = {"02_sun2021_vertebrae/04_privacy_density": ["shortfalls=[]"]}
        assert open_gates(source(path)) == known.get(f"{path.parent.name}/{path.stem}", [])

    def test_measures_by_lib(self, path):
        shown = [cell for cell in cells(path, "code") if "check" not in cell["metadata"].get("tags", [])]
        assert second_metrics("\n".join("".join(cell["source"]) for cell in shown)) == []

    def test_names_methods_by_the_registries(self, path):
        code = source(path)
        if path.parent.name == "comparison":
            assert tables_of_names(code, COMPARED, most=1) == []
        assert tables_of_names(code, METHODS, most=3) == []  # a paper's own two or three are its facts

    def test_takes_three_parameters_and_checks(self, path):
        (parameters,) = tagged(path, "parameters")
        names = [t.id for node in parsed(parameters).body for t in node.targets]
        assert names[:3] == ["scale", "cohort", "seed"]
        assert len(tagged(path, "check")) == 1
        assert "run.check(" in tagged(path, "check")[0]

    def test_runs_under_its_own_name(self, path):
        assert f'Run("{path.parent.name}", scale, cohort, seed)' in source(path)

    def test_makes_what_is_declared_for_it(self, path):
        paper = paper_of(path.parent)
        code = source(path)
        made = set(re.findall(r"run\.(?:figure|table)\(\s*\"([^\"]+)\"", code))
        assert made == {name for name, item in paper.items.items() if item.notebook == path.stem}
        claims = {name for name, claim in paper.claims.items() if claim.notebook == path.stem}
        for claim in claims:
            assert claim in code or re.search(r"run\.(claim|record)\(\s*(?!\")", code), f"{claim} is never evaluated"

    def test_uses_known_settings(self, path):
        assert settings_in(source(path)) <= set(paper_of(path.parent).settings)

    def test_reads_only_its_own_entries_of_paper_yaml(self, path):
        paper = paper_of(path.parent)
        for kind, name in re.findall(r"run\.paper\.(items|claims)\[\"([^\"]+)\"\]", source(path)):
            assert getattr(paper, kind)[name].notebook == path.stem, f"{name} is no entry of this notebook"

    def test_needs_what_is_declared_for_it(self, path):
        used = {name.split("/")[0] for name in re.findall(r"run\.need\(\s*f?\"([^\"]+)\"", source(path))}
        assert used == set(paper_of(path.parent).notebooks[path.stem])


@pytest.mark.parametrize("paper", known_papers())
def test_a_paper_reads_and_declares_each_of_its_notebooks(paper):
    loaded = paper_of(ROOT / "notebooks" / paper)
    assert set(loaded.notebooks) == {path.stem for path in (ROOT / "notebooks" / paper).glob("*.ipynb")}
    if loaded.claims:
        assert loaded.deviations
    code = "".join(source(path) for path in (ROOT / "notebooks" / paper).glob("*.ipynb"))
    if paper == "comparison":  # its entries read settings as well
        code += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lib" / "comparison").glob("*.py"))
    options = set(GENERATORS.values()) if paper == "comparison" else set()  # those of a generator, by its name
    assert set(loaded.settings) <= settings_in(code) | options, "a setting nobody reads"


def test_no_patient_image_is_committed():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    pictures = [f for f in files if re.search(r"\.(png|jpe?g|dcm|h5|hdf5|npy)$", f)]
    of_real = re.compile(r"figures/reference/study-public/(\w+)/(\w+)\.png")
    found = [of_real.fullmatch(f) for f in pictures if not re.match("figures/reference/(demo|study)-phantom/", f)]
    assert all(found), "a picture that is no chart of a run"
    items = [load_paper(ROOT / "notebooks" / made[1]).items[made[2]] for made in found if made]
    assert not any(item.images for item in items)  # charts alone
    sizes = {f: (ROOT / f).stat().st_size for f in files if f and (ROOT / f).exists()}
    assert {f for f, size in sizes.items() if size > (8 if f.startswith("weights/") else 2) * 2**20} == set()
    assert sum(size for f, size in sizes.items() if f.startswith("weights/")) <= 60 * 2**20


def test_records_of_real_images_are_scores_and_no_pixels():
    """Numbers, resamples of one, or one value for each image of a set; bytes and tables, as images are, are refused."""
    records = sorted((ROOT / "figures/reference").glob("*-public/**/*.npz"))
    assert records
    for path in records:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files if name != "about"}
        assert all(of.ndim == 0 or (of.ndim == 1 and of.dtype.kind == "f") for of in found.values()), path
        table = next(parent for parent in path.parents if (parent / "claims").is_dir()) / "tab_s1_data.csv"
        with open(table, encoding="utf-8") as file:
            of_set = {int(row["images"]) for row in csv.DictReader(file)}
        rows = {name: of.size for name, of in found.items() if of.ndim and "resampled" not in name}
        assert {name for name, size in rows.items() if size > 2 and size not in of_set} == set(), path
        assert max(of.size for of in found.values()) < 64 * 64, path


def test_conda_and_pip_install_the_same_versions():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    lines = [line for entry in environment["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)", "\n".join(lines), re.M))
    assert versions or "-c constraints.txt" in lines
    assert {name: pins.get(name) for name in versions} == versions
