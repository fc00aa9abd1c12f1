"""A cohort: images and what is known of each of them, in memory or as one HDF5 file."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lib.cohorts.io import hdf5
from lib.cohorts.rows import AGAIN, BLOCK, Rows, in_blocks
from lib.core.exact_cast import exact_cast
from lib.core.files import atomic
from lib.core.json_objects import parse_object

SPLITS = {"train": 0, "validation": 1, "test": 2}
COLUMNS = ("region", "site", "lesion", "view")
# The keys of columns in files, as Montenegro published them.
FILE_KEYS = {"patient": "id", "labels": "dis", "split": "set", "source_name": "key"}
_FILE_FACTS = {"label_names": "labels"}  # facts that have another name in files
_DTYPES = ("uint8", "float32", "float64")
_FLOAT = float(np.finfo(np.float32).max)
_MOST_CLASSES = 10_000  # of a file that does not name them


class Cohort:
    """Images with the patient, the labels and the split of each of them.

    images: (N, H, W) or (N, C, H, W), uint8 or float32; a NumPy array, or unread `Rows` or `FittedRows`.
    patient: (N,) int64. labels: (N,) int64 classes, or (N, K) int64 findings, 0 or 1, named by `label_names`.
    split: (N,) uint8, 0 train, 1 validation, 2 test.
    region, site, lesion, view: optional, (N,) int64. masks: optional, (N, H, W) uint8, 0 or 1.
    source_name: optional, (N,) str, the file or record that each image came from.
    value_range: (low, high) of the pixels. closed_set: a patient may be in two splits, as closed-set identity
    recognition needs it; otherwise that is an error. made_by: free text.

    Raises ValueError, in one sentence, for shapes that disagree, NaN, labels out of range, or a patient in two splits.
    """

    def __init__(
        self,
        images,
        patient,
        labels,
        split,
        *,
        region=None,
        site=None,
        lesion=None,
        view=None,
        masks=None,
        source_name=None,
        name: str,
        modality: str = "unknown",  # DICOM's code: CR, MG, MR, …
        label_names: Sequence[str],
        value_range=(0, 255),
        licence: str = "unknown",
        source: str = "unknown",
        closed_set: bool = False,
        made_by: str = "",
    ):
        self.images = images
        of = f"cohort {name!r}: "
        self.patient = exact_cast(patient, np.int64, f"{of}patient").reshape(-1)
        self.labels = exact_cast(labels, np.int64, f"{of}labels")
        self.split = exact_cast(split, np.uint8, f"{of}split").reshape(-1)
        optional = {"region": region, "site": site, "lesion": lesion, "view": view}
        self.region, self.site, self.lesion, self.view = (
            None if values is None else exact_cast(values, np.int64, of + column).reshape(-1)
            for column, values in optional.items()
        )
        self.masks = masks
        self.source_name = None if source_name is None else np.asarray(source_name, dtype=str)
        self.name, self.modality, self.label_names = name, modality, tuple(label_names)
        self.value_range = tuple(float(v) for v in value_range)
        self.licence, self.source, self.closed_set, self.made_by = licence, source, closed_set, made_by
        self._validate()

    def _validate(self) -> None:
        def refuse(problem: str):
            raise ValueError(f"cohort {self.name!r}: {problem}")

        if self.images.ndim not in (3, 4):
            refuse(f"images have shape {self.images.shape}; give (N, H, W) or (N, C, H, W)")
        if 0 in self.images.shape:
            refuse(f"no image, or none with a pixel: the shape is {self.images.shape}; give at least one")
        if str(self.images.dtype) not in _DTYPES[:2]:
            refuse(f"images are {self.images.dtype}; convert them to uint8 or float32")
        if isinstance(self.images, np.ndarray) and self.images.dtype.kind == "f":
            if not np.isfinite(self.images).all():
                refuse("images hold NaN or infinite pixels; repair or drop those rows")
        for column in ("patient", "labels", "split", *COLUMNS, "masks", "source_name"):
            values = getattr(self, column)
            if values is not None and len(values) != len(self):
                refuse(f"{column} has {len(values)} rows for {len(self)} images; give one for each image")
        labels, names = self.labels, len(self.label_names)
        high = 1 if labels.ndim == 2 else names - 1
        if labels.ndim not in (1, 2) or names == 0:
            refuse(f"labels have shape {labels.shape} and {names} names; give (N,) or (N, K), and K names")
        if labels.ndim == 2 and labels.shape[1] != names:
            refuse(f"labels has {labels.shape[1]} columns for {names} label names")
        if labels.min() < 0 or labels.max() > high:
            refuse(f"labels runs from {labels.min()} to {labels.max()}; {names} label names allow 0 to {high}")
        if self.split.max() > 2:
            refuse(f"split holds {self.split.max()}; use 0 train, 1 validation, 2 test")
        if self.masks is not None and self.masks.shape[-2:] != self.images.shape[-2:]:
            sizes = f"{self.masks.shape[-2:]} for images of {self.images.shape[-2:]}"
            refuse(f"masks are {sizes}; give the masks of these images")
        if isinstance(self.masks, np.ndarray) and self.masks.max() > 1:
            refuse(f"masks reach {self.masks.max()}; divide them by it, so that they are 0 or 1")
        if not self.closed_set:
            pairs = np.unique(np.stack([self.patient, self.split]), axis=1)[0]
            twice = pairs[1:][pairs[1:] == pairs[:-1]]
            if len(twice):
                refuse(
                    f"patient {twice[0]} stands in two splits ({len(np.unique(twice))} such); split by patient, "
                    "or declare closed_set=True where the protocol needs it"
                )

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {np.sum(self.split == code)}" for name, code in SPLITS.items())
        size = "×".join(str(n) for n in self.images.shape[1:])
        patients = len(np.unique(self.patient))
        return f"{self.name}: {len(self)} {self.modality} images {size} of {patients} patients ({counts})"

    def __getitem__(self, which) -> "Cohort":
        """The images that a slice, mask or index array selects, in its order."""
        index = np.arange(len(self))[which]
        if index.ndim != 1 or len(index) == 0:
            raise ValueError(f"cohort {self.name!r}: the selection holds no image; select at least one row")

        def rows(values):
            if values is None:
                return None
            return values.select(index) if hasattr(values, "select") else values[index]  # unread

        optional = {column: rows(getattr(self, column)) for column in (*COLUMNS, "masks", "source_name")}
        optional |= self._facts()
        return Cohort(rows(self.images), self.patient[index], self.labels[index], self.split[index], **optional)

    def _facts(self) -> dict:
        names = ("name", "modality", "label_names", "value_range", "licence", "source", "closed_set", "made_by")
        return {name: getattr(self, name) for name in names}

    def subset(self, name: str) -> "Cohort":
        """The images of "train", "validation" or "test". Raises ValueError for another name or an empty split."""
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}: choose one of {', '.join(SPLITS)}")
        if not (self.split == SPLITS[name]).any():
            raise ValueError(f"cohort {self.name!r}: the {name} split is empty; make the cohort with one")
        return self[self.split == SPLITS[name]]

    def with_images(self, images: np.ndarray, **facts) -> "Cohort":
        """The same rows with other images and `facts`; masks are kept if the size of the images stays."""
        optional = {column: getattr(self, column) for column in (*COLUMNS, "source_name")}
        same = self.masks is not None and images.shape[-2:] == self.images.shape[-2:]
        return Cohort(
            images, self.patient, self.labels, self.split, masks=self.masks if same else None,
            **optional, **(self._facts() | facts),
        )  # fmt: skip

    def with_split(self, split: np.ndarray) -> "Cohort":
        """The same images and columns with other split codes (N,)."""
        return self.replaced(split=split)

    def replaced(self, **changes) -> "Cohort":
        """The same cohort with other columns or facts, by the names that `Cohort` takes."""
        names = ("images", "patient", "labels", "split", *COLUMNS, "masks", "source_name")
        return Cohort(**({name: getattr(self, name) for name in names} | self._facts() | changes))

    def resized(self, size: int) -> "Cohort":
        """The cohort at `size` × `size` pixels, box-averaged. ValueError unless `size` divides height and width."""
        high, wide = self.images.shape[-2:]
        if (high, wide) == (size, size):
            return self
        if high % size or wide % size:
            problem = f"{high}×{wide} pixels cannot be box-averaged to {size}; give a divisor"
            raise ValueError(f"cohort {self.name!r}: {problem}")
        images = np.empty((*self.images.shape[:-2], size, size), self.images.dtype)
        for start in range(0, len(self), BLOCK):
            images[start : start + BLOCK] = _box_average(self.images[start : start + BLOCK], size)
        return self.with_images(images)

    @property
    def digest(self) -> str:
        """SHA-256 of label names, pixels and columns: equal for equal content, however it is stored."""
        sha = hashlib.sha256(json.dumps([self.label_names, self.images.shape, str(self.images.dtype)]).encode())
        for block in in_blocks(self.images):
            sha.update(np.ascontiguousarray(block).tobytes())
        for column in ("patient", "labels", "split", *COLUMNS):
            values = getattr(self, column)
            sha.update(b"-" if values is None else values.tobytes())
        return sha.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the cohort as HDF5, whole or not at all, and return `path`; unread images are copied in blocks."""
        path = Path(path)
        with atomic(path) as partial, h5py.File(partial, "w") as file:
            for column in ("images", "masks"):
                values = getattr(self, column)
                if values is None:
                    continue
                chunks = (1, *values.shape[1:])
                stored = file.create_dataset(
                    column, values.shape, values.dtype, chunks=chunks, compression="gzip", compression_opts=1,
                    fletcher32=True,
                )  # fmt: skip
                for start in range(0, len(self), BLOCK):
                    stored[start : start + BLOCK] = values[start : start + BLOCK]
            for column in ("patient", "labels", "split", *COLUMNS):
                if getattr(self, column) is not None:
                    file[FILE_KEYS.get(column, column)] = getattr(self, column)
            if self.source_name is not None:
                names = self.source_name.astype(object)
                file.create_dataset(FILE_KEYS["source_name"], data=names, dtype=h5py.string_dtype())
            file.attrs["format"] = "cohort 1"
            file.attrs["split_code"] = json.dumps(SPLITS)
            file.attrs["facts"] = json.dumps({_FILE_FACTS.get(name, name): v for name, v in self._facts().items()})
        return path

    @classmethod
    def open(cls, path: str | Path, **facts) -> "Cohort":
        """Open a cohort file; its pixels are read when they are asked for.

        A file that holds only `images`, `id`, `dis` and `set` (Montenegro's layout) opens as well; its `set` is taken
        as 0 train, 1 validation, 2 test. `facts` override the stored facts.
        Raises FileNotFoundError; and ValueError for a truncated file, a missing data set, what `lib.cohorts.io.hdf5`
        refuses, columns that are not whole numbers, and facts of another kind than `Cohort` has.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such cohort; make it first")
        with hdf5.received(path, mend=AGAIN) as file:
            file.require("images", "id", "dis", "set")
            if (dtype := str(file.dataset("images", measured=True).dtype)) not in _DTYPES:
                file.refuse(f"images are {dtype}: convert them to uint8 or float32")
            keys = {c: FILE_KEYS.get(c, c) for c in ("patient", "labels", "split", *COLUMNS)}
            columns: dict[str, Any] = {column: file.whole(key) for column, key in keys.items() if key in file}
            names = FILE_KEYS["source_name"]
            columns["source_name"] = file.texts(names) if names in file else None
            has_masks = "masks" in file
            split_code, text = file.attribute("split_code"), file.attribute("facts")
        try:
            if split_code is not None and (code := parse_object(split_code)) != SPLITS:
                raise ValueError(f"split code {code}; recode to {SPLITS}")
            stored = _stored_facts(text) if text else _plain_facts(path, columns["labels"], dtype)
            masks = Rows(path, "masks") if has_masks else None
            return cls(Rows(path, "images"), **columns, masks=masks, **(stored | facts))
        except hdf5.Hdf5Error:
            raise
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _stored_facts(text: str) -> dict:
    facts = parse_object(text)
    facts |= {name: facts.pop(key) for name, key in _FILE_FACTS.items() if key in facts}
    kinds = dict.fromkeys(("name", "modality", "licence", "source", "made_by"), str) | {"closed_set": bool}
    wrong = [name for name, kind in kinds.items() if name in facts and not isinstance(facts[name], kind)]
    labels, limits = facts.get("label_names"), facts.get("value_range", (0, 255))
    wrong += ["label_names"] * (not isinstance(labels, list) or not all(isinstance(label, str) for label in labels))
    numbers = isinstance(limits, (list, tuple)) and [isinstance(v, (int, float)) for v in limits] == [True, True]
    wrong += ["value_range"] * (not numbers or not -_FLOAT < limits[0] < limits[1] < _FLOAT)
    wrong += sorted(facts.keys() - kinds - {"label_names", "value_range"})
    wrong += ["name"] * ("name" not in facts)
    if wrong:
        raise ValueError(f"its fact {wrong[0]} is absent, unknown or damaged; {AGAIN}")
    return facts


def _plain_facts(path: Path, labels: np.ndarray, dtype: str) -> dict:
    labels = exact_cast(labels, np.int64, "dis")
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=0)) + 1
    if classes > _MOST_CLASSES:
        raise ValueError(f"dis reaches {classes - 1:,}; number the classes from 0, {_MOST_CLASSES:,} at most")
    return {
        "name": path.stem,
        "label_names": [f"{'finding' if labels.ndim == 2 else 'class'} {i}" for i in range(classes)],
        "value_range": (0, 255) if dtype == "uint8" else (0, 1),
        "source": str(path),
    }


def _box_average(images: np.ndarray, size: int) -> np.ndarray:
    step = images.shape[-2] // size, images.shape[-1] // size
    blocks = images.reshape(*images.shape[:-2], size, step[0], size, step[1])
    mean = blocks.mean(axis=(-3, -1), dtype=np.float32)
    return np.rint(mean).astype(np.uint8) if images.dtype == np.uint8 else mean
