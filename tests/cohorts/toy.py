"""Images, files and cohorts that several tests draw."""

import zlib

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.cohort import Cohort


def noise(n, side=32, seed=0):
    """Images (n, side, side), uint8."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side)).astype(np.uint8)


def cohort(images, patients=None, **facts):
    """A cohort of `images`, each of a patient of its own unless `patients` says otherwise."""
    n = len(images)
    patients = np.arange(n) if patients is None else patients
    facts = {"name": "mine", "label_names": ("image",)} | facts
    return Cohort(images, patients, np.zeros(n), np.zeros(n), **facts)


def folder(path, images, kind="png"):
    """Folder `path` with `images` as files 00000, 00001, … of `kind`."""
    path.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:05d}.{kind}")
    return path


def paint(path, size=128, mode="L", value=None):
    """Write a PNG of noise, or of one grey value."""
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    grey = rng.integers(0, 256, (size, size), dtype=np.uint8) if value is None else np.full((size, size), value)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey.astype(np.uint8)).convert(mode).save(path, format="PNG")
    return path


def ramp(path, shape=(300, 400), low=0, high=255, mode="L"):
    """An image file of `shape` (height, width) that brightens from left to right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.broadcast_to(np.linspace(low, high, shape[1]), shape).astype(np.uint8)
    Image.fromarray(grey).convert(mode).save(path, quality=95)
    return path


def blank(path, sop_class: str):
    """A dataset of class `sop_class` without pixels; the folder of `path` is made. Skips without pydicom."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra `data`)")
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = getattr(pydicom.uid, sop_class)
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    return data
