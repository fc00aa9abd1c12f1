"""Synthetic vertebral units that Sun et al. 2021 (pGAN) published: 10,000 units of nine sagittal T1 slices.

The release is one HDF5 file (Zenodo, doi 10.5281/zenodo.5031881): `images` float64 (N, 9, H, W) in -1 … 1, the output
of a tanh, and `regions` float64 (N, 1), 0 cervical, 1 thoracic, 2 lumbar. The project does not know its checksum, so it
is not fetched. The real images that it was trained on were never published.
"""

from pathlib import Path

import h5py
import numpy as np

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch, hdf5
from lib.cohorts.rows import BLOCK, Rows
from lib.core.files import atomic

COHORTS = ("pgan_release",)
DIGESTS: dict[str, str] = {}  # unknown: the release was not at hand
LABELS = ("cervical", "thoracic", "lumbar")
SLICES = 9
COUNT = 10_000
DOI = "10.5281/zenodo.5031881"
LICENCE = f"see doi {DOI}"
CITATION = "Sun et al. 2021, arXiv 2106.13199"

_LAYOUT = "expected is one HDF5 file with images (N, 9, H, W) and regions (N, 1)"
_AGAIN = f"download it again from doi {DOI}"


def sources() -> list[fetch.Source]:
    """No source, because the file must be downloaded by hand."""
    return []


def prepare(folder: Path, out_folder: Path, *, count: int = COUNT) -> list[Path]:
    """Write pgan_release.h5 from the published file, or from the folder that holds it, and return its path.

    Pixels become float32 and are read in blocks, so memory stays bounded. count: the expected number of images.
    Raises ValueError, naming file and fix, for what `read` refuses, for another number of images, and for a pixel that
    is NaN or outside -1 … 1; nothing is then written.
    """
    path = find_file(Path(folder))
    cohort = read(path)
    if len(cohort) != count:
        raise ValueError(f"{path}: {len(cohort):,} images where {count:,} were published; {_AGAIN}")
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5")]


def find_file(folder: Path) -> Path:
    """The published file: `folder` itself, or the HDF5 file in it. Raises ValueError unless there is exactly one."""
    if folder.is_file():
        return folder
    found = sorted(path for path in folder.glob("*") if path.suffix in (".h5", ".hdf5") and path.name[0] != ".")
    if not found:
        raise ValueError(f"{folder}: no HDF5 file in it; download the one of doi {DOI} and give its folder to --from")
    if len(found) > 1:
        raise ValueError(f"{folder}: {len(found)} HDF5 files in it; give the path of the published one to --from")
    return found[0]


def read(path: Path) -> Cohort:
    """The published file as a cohort whose pixels are read when they are asked for.

    `images` are float32; `region` and `labels` are as published; each image is its own patient; `split` is 0. Raises
    ValueError, naming the file, if it is truncated or not HDF5, if `images` or `regions` is absent or has another shape
    or type, or if a region is not 0, 1 or 2.
    """
    with hdf5.received(path, mend=f"{_LAYOUT}: {_AGAIN}") as file:
        file.require("images", "regions")
        images, stored = file.dataset("images"), file.dataset("regions")
        shape, kind = images.shape, images.dtype
        if len(shape) != 4 or shape[1] != SLICES:
            file.refuse(f"images have shape {shape}")
        if kind not in (np.float32, np.float64):
            file.refuse(f"images are {kind} where floats from -1 to 1 were published")
        if stored.shape not in (shape[:1], (*shape[:1], 1)) or stored.dtype.kind not in "fiu":
            file.refuse(f"regions are {stored.dtype} of shape {stored.shape} for {shape[0]:,} images")
        regions = file.whole("regions").reshape(-1)
    wrong = regions[~np.isin(regions, range(len(LABELS)))]  # NaN is among them
    if len(wrong):
        raise ValueError(f"{path}: region {wrong[0]:g} where 0, 1 and 2 were published; {_AGAIN}")
    return Cohort(
        _Tanh(path, "images"),
        np.arange(shape[0]),
        regions,
        np.zeros(shape[0]),
        region=regions,
        name=COHORTS[0],
        modality="MR",
        label_names=LABELS,
        value_range=(-1, 1),
        licence=LICENCE,
        source=f"{CITATION}; doi {DOI}",
    )


def assert_units(images: np.ndarray, regions: np.ndarray | None) -> None:
    """ValueError unless `images`, (n, 9, H, W), and `regions`, codes of LABELS, can be written as units."""
    if images.ndim != 4 or images.shape[1] != SLICES:
        raise ValueError(f"{COHORTS[0]} has units of {SLICES} slices, and these are {images.shape[1:]}: write a cohort")
    if regions is None or regions.ndim != 1 or not np.isin(regions, range(len(LABELS))).all():
        raise ValueError(f"{COHORTS[0]} has the regions {', '.join(LABELS)}, and these images have others or none")


def write(path: str | Path, images: np.ndarray, regions: np.ndarray) -> Path:
    """Write units into the HDF5 file `path` as the published one has them, whole or not at all, and return it.

    images: uint8 (n, 9, H, W), which become float64 from -1 to 1; of 8 bits each value is a multiple of 2/255. regions:
    (n,) 0 cervical, 1 thoracic, 2 lumbar. Memory stays bounded. ValueError for other images or regions.
    """
    assert_units(images, regions)
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}; convert them to uint8")
    with atomic(path) as partial, h5py.File(partial, "w") as file:
        stored = file.create_dataset("images", images.shape, np.float64)
        for start in range(0, len(images), BLOCK):
            stored[start : start + BLOCK] = images[start : start + BLOCK] / 127.5 - 1
        file["regions"] = regions.reshape(-1, 1).astype(np.float64)
    return Path(path)


class _Tanh(Rows):
    """Rows whose reading raises ValueError for a pixel outside -1 … 1."""

    def select(self, which) -> Rows:
        return _Tanh(self.path, self.key, self.index[which])

    def __getitem__(self, which) -> np.ndarray:
        try:
            rows = super().__getitem__(which)
        except hdf5.Hdf5Error as error:
            raise ValueError(f"{self.path}: damaged pixel data; {_AGAIN}") from error
        if rows.size and np.abs(rows).max() > 1:
            raise ValueError(f"{self.path}: a pixel of {np.abs(rows).max():g} where -1 to 1 was published; {_AGAIN}")
        return rows
