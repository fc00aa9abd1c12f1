"""A user's own images: a run folder of their own, and not a byte of them in what the suite publishes."""

import base64
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.runner.toy import Suite, write_notebook

pytestmark = pytest.mark.slow

PARAMETERS = 'scale = "demo"\ncohort = "phantom"\nseed = 0\ntrain = ""  # a folder'
SHOW = """
import IPython.display, pandas as pd
from pathlib import Path
from lib.experiment.run import Run
run = Run("01_p", scale, cohort, seed)
run = run.on_own_images("0123" + "abcd") if train else run
shown = Path(train, "patient.png").read_bytes() if train else b"drawn"
if train:
    IPython.display.display(IPython.display.Image(shown))
run.save("01_show/table.csv", pd.DataFrame({"from": [train], "bytes": [len(shown)]}))
print(train, run.tag)
"""


@pytest.fixture
def suite(tmp_path, fork_server, pageless):
    """Without a page; a test that looks for images in it takes the whole code before the last run."""
    suite = Suite(tmp_path / "project", {"01_p": {"01_show": ((), "")}}, fork_server, pageless)
    write_notebook(suite.source("01_p/01_show"), SHOW, parameters=PARAMETERS)
    suite.images = tmp_path / "clinic of Dr Own"
    suite.images.mkdir()
    pixels = np.random.default_rng(7).integers(0, 256, (24, 24), np.uint8)
    Image.fromarray(pixels).save(suite.images / "patient.png")
    return suite


def execute(suite, *words: str) -> subprocess.CompletedProcess:
    """One notebook by hand, in seed 3 of scale smoke."""
    command = [sys.executable, "-m", "lib.runner", "01_p", "01_show", "--scale", "smoke", "--seed", "3", *words]
    return subprocess.run(command, cwd=suite.code, env=suite.env, capture_output=True, text=True)


def papermill(suite, folder, *words) -> None:
    """The notebook as the README executes it, without our runner."""
    command = [sys.executable, "-m", "papermill", suite.source("01_p/01_show"), folder / "out.ipynb", "-k", "python3"]
    command += ["--language", "python"]
    command += ["-p", "scale", "smoke", "-p", "seed", "3", *words]
    env = suite.env | {"PYTHONPATH": str(suite.code)}
    made = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


def traces(suite, *folders) -> list[str]:
    """The files in `folders` that hold the own image, as a file or embedded, or the name of its folder."""
    image = (suite.images / "patient.png").read_bytes()
    pixels = Image.open(io.BytesIO(image)).tobytes()
    wanted = [image, pixels, base64.b64encode(image), suite.images.name.encode(), b"0123abcd"]
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if any(text in path.read_bytes() for text in wanted)]


def published(suite) -> list:
    return [suite.folder, suite.root / "figures" / suite.folder.name]


def contents(suite) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in suite.folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_own_images_run_apart_and_are_not_published(suite, code):
    assert suite.run()[0] == 0
    before = contents(suite)
    made = execute(suite, "-p", "train", str(suite.images))
    assert made.returncode == 0, made.stdout + made.stderr
    (own,) = (suite.root / "data/runs").glob("own-*")
    assert own.name.startswith("own-smoke-")
    assert own.name.endswith("-seed3")
    assert str(own / "executed/01_p/01_show.ipynb") in made.stdout
    kept = {path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file() and path.name != ".lock"}
    assert kept == {"executed/01_p/01_show.ipynb", "01_p/01_show/done.json", "01_p/01_show/table.csv"}
    assert len(traces(suite, own)) == 3  # what is looked for below is found where it is
    assert contents(suite) == before
    suite.code = code
    exit_code, output = suite.run()
    assert (exit_code, output.count("finished before")) == (0, 1)
    assert (suite.root / "figures" / suite.folder.name / "index.html").exists()
    assert traces(suite, *published(suite)) == []


def test_other_values_have_another_folder(suite):
    for value in ("a", "b"):
        (suite.images / value).mkdir()
        (suite.images / value / "patient.png").write_bytes(b"")
        execute(suite, "-p", "train", str(suite.images / value))
    assert len(list((suite.root / "data/runs").glob("own-*"))) == 2
    assert execute(suite, "-p", "train", "").returncode == 0  # which is the suite's own
    assert suite.record("01_p/01_show")["threads"] == 1


@pytest.mark.parametrize("parameter", [("seed", "4"), ("scale", "demo"), ("cohort", "public")])
def test_what_decides_the_folder_is_no_parameter(suite, parameter):
    name, value = parameter
    made = execute(suite, "-p", name, value)
    assert made.returncode == 2
    assert f"-p {name}: give --{name} {value}" in made.stderr
    assert not suite.folder.exists()


def test_papermill_with_own_images_leaves_the_run_alone(suite, tmp_path, code):
    assert suite.run()[0] == 0
    before = contents(suite)
    papermill(suite, tmp_path, "-p", "train", suite.images)
    assert str(suite.images) in (tmp_path / "out.ipynb").read_text()
    assert (suite.root / "data/runs/own-smoke-0123abcd-seed3/01_p/01_show/table.csv").exists()
    assert contents(suite) == before
    suite.code = code
    assert suite.run()[1].count("finished before") == 1
    assert traces(suite, *published(suite)) == []


def test_own_images_in_the_parameters_cell_are_refused(suite, code, pageless):
    """Saved in JupyterLab: the suite would execute the notebook with them, and publish the copy."""
    edited = PARAMETERS.replace('train = ""', f'train = "{suite.images}"')
    write_notebook(suite.source("01_p/01_show"), SHOW, parameters=edited)
    suite.code = code
    exit_code, output = suite.run()
    assert exit_code == 1
    assert "its parameters cell fills train: leave it empty there and give -p train VALUE" in output
    assert traces(suite, *published(suite)) == []
    write_notebook(suite.source("01_p/01_show"), f'train = "{suite.images}"\n{SHOW}', parameters=PARAMETERS)
    suite.code = pageless
    exit_code, output = suite.run()
    assert exit_code == 1
    assert "own images in the run smoke-phantom-seed3, which is published: give them by -p" in output


def test_a_run_by_hand_withdraws_a_record_that_no_longer_fits(suite, tmp_path):
    """papermill or JupyterLab on the suite's own run: the same files keep the record, others make it out of date."""
    assert suite.run()[0] == 0
    papermill(suite, tmp_path)
    assert suite.run()[1].count("finished before") == 1
    source = suite.source("01_p/01_show")
    content = json.loads(source.read_text())
    source.write_text(json.dumps(content).replace('b\\"drawn\\"', 'b\\"drawn by hand\\"'))
    papermill(suite, tmp_path)
    assert suite.record("01_p/01_show") is None
