"""Pipes, devices and sockets are refused where a file is expected, by every opener, and nobody waits for them."""

import builtins
import io
import os
import socket

import numpy as np
import pytest
import torch

from lib.cohorts.cohort import Cohort
from lib.cohorts.io.image_files import open_image
from lib.cohorts.io.label_tables import read_rows
from lib.cohorts.io.user_images import open_images
from lib.core.json_objects import read_object
from lib.core.regular_files import refuse_unreadable, require_regular
from lib.experiment.paper import load_paper
from lib.models.pretrained.inception import load_inception
from lib.models.pretrained.weights import read_weights
from lib.training.loop.checkpoint import Checkpoint
from tests.cohorts.toy import folder, noise


def images(path, **options):
    return open_images(path, size=8, most=9, rng=np.random.default_rng(0), **options)


def table(path):
    return images(folder(path.parent / "images", noise(2, 8)), patients=path)


WAYS = {
    "x.png": images,
    "x.dcm": images,
    "x": images,
    "x.h5": Cohort.open,
    "y.h5": images,
    "y.png": lambda path: open_image(path, ("PNG",)),
    "x.pth": read_weights,
    "x.safetensors": read_weights,
    "y.pth": load_inception,
    "x.csv": table,
    "y.csv": lambda path: list(read_rows(path, ("a",), expected="a table")),
    "x.json": read_object,
    "paper.yaml": lambda path: load_paper(path.parent),
}


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", WAYS)
def test_no_opener_waits_for_what_has_no_end(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"{name}: a {kind}, no regular file; give a file$"):
        WAYS[name](path)


def test_files_and_absent_ones_pass_and_folders_and_sockets_do_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path has a hundred letters at most
    (tmp_path / "a").write_text("")
    require_regular("a")
    require_regular("absent")
    with pytest.raises(ValueError, match="a folder, no regular file"):
        require_regular(tmp_path)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("s")
        with pytest.raises(ValueError, match=r"^s: a socket, no regular file"):
            require_regular("s")


@pytest.mark.parametrize("file", ["checkpoint.json", "step-2.safetensors", "step-2.pt"])
def test_a_checkpoint_with_a_pipe_is_damaged(tmp_path, file):
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"w": torch.ones(2)}, {"m": 1}, 2)
    (tmp_path / file).unlink()
    os.mkfifo(tmp_path / file)
    with pytest.raises(ValueError, match=rf"{file}( is missing|: a pipe, no regular file)"):
        checkpoint.load()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied"), "no permission to read it; allow it or take it out"),
        (OSError(5, "Input/output error"), r"cannot be read \(Input/output error\); repair the file system"),
    ],
)
def test_errors_of_the_file_system_are_not_those_of_the_content(error, says):
    with pytest.raises(ValueError, match=f"^x: {says}"):
        refuse_unreadable("x", error)


@pytest.mark.parametrize("error", [OSError("image file is truncated"), ValueError("x"), EOFError()])
def test_errors_of_the_content_are_left_to_whoever_reads_it(error):
    refuse_unreadable("x", error)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda path: list(read_rows(path, ("a",), expected="a table")), "x.csv"),
        (table, "x.csv"),
        (lambda path: open_image(path, ("PNG",)), "x.png"),
    ],
)
def test_no_permission_is_said(tmp_path, monkeypatch, read, name):
    """Tests run as root, whom no permission stops."""
    path, open_ = tmp_path / name, io.open

    def refuses(file, *args, **options):
        if str(file).endswith(name):
            raise PermissionError(13, "Permission denied")
        return open_(file, *args, **options)

    path.write_text("file,patient\nx,y\n")
    monkeypatch.setattr(builtins, "open", refuses)
    monkeypatch.setattr(io, "open", refuses)
    with pytest.raises(ValueError, match=f"{name}: no permission to read it; allow it or take it out"):
        read(path)
