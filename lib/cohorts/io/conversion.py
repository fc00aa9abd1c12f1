"""A folder of image files and a table of them, made into a cohort that is read as it is written.

The table has the columns file and patient, and one for each label; a column split is optional. `FileTable` says how its
paths are matched, `lib.cohorts.io.user_images` which files are read and how. One column of labels: each image is of one
class, and the classes are its texts, sorted, or in the order that is given; a number is named with its column. Several:
each is a finding, 0 or 1. Splits are by patient: as the table says, or, without a column split, at random, 70 % of
patients train, 10 % validation, 20 % test. Images of 8 bits keep their grey levels; others are stretched from the 1st
to the 99th percentile of their pixels. Each frame, page or slice of a file is an image; or each file is a volume of so
many.
"""

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io.file_tables import FileTable
from lib.cohorts.io.image_facts import Shown
from lib.cohorts.io.image_search import ImageFile
from lib.cohorts.io.label_tables import own_columns
from lib.cohorts.io.mask_files import MaskFiles
from lib.cohorts.io.resampling import FITS, TooSmallError, fitted, side
from lib.cohorts.io.user_images import FORMATS, counted, draw, locate
from lib.cohorts.splits import SHARES, split_codes
from lib.core.seeding import numpy_generator

_PERCENTILES = (1, 99)
_SPLIT_WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
_MOST_CLASSES = 50  # of one column: more are names or numbers, not classes
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_MISSING = ("", "nan", "<na>")  # "none" may be a class


def convert(
    folder: str | Path,
    table: str | Path,
    *,
    size: int,
    name: str,
    labels: Sequence[str] = (),
    classes: Sequence[str] = (),
    masks: str | Path = "",
    fit: str = "pad",
    slices: int = 0,
    strict: bool = False,
    modality: str = "unknown",
    licence: str = "unknown",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Cohort:
    """The images in `folder` with what `table` says of them, as a cohort whose pixels are read when it is saved.

    size: pixels a side. labels: the columns that are labels; none given, all but file, patient and split. classes: of
    one column, all its texts in the order that is wanted; none given, sorted. masks: a folder of masks, each by the
    name of its image, as `MaskFiles` takes them. fit, strict: as in `open_images`. slices: each
    file is one volume of so many, two or over three, in its order; 0 for an image of each.
    progress: called with the images read so far and their number.

    Raises ValueError, in one sentence that names the file and the mend, for what `open_images` and `FileTable` refuse,
    for a table without a label, a label that is missing or no 0 or 1 among findings, one class alone, over 50 classes,
    an unknown split, a patient in two splits, fewer than three patients without a column split, an image of fewer than
    `size` pixels, masks of files that hold several images, and what `MaskFiles` refuses; of volumes also for a file of
    another number of slices, and masks.
    """
    folder, table = Path(folder), Path(table)
    if size < 8 or fit not in FITS:
        raise ValueError(f"size is {size} and fit {fit!r}: give 8 pixels at least, and one of {', '.join(FITS)}")
    if slices < 0 or slices in (1, 3) or (slices and masks):
        raise ValueError(f"slices is {slices}: give 2, or 4 and more, for 3 channels are colour, and no masks beside")
    own = own_columns(table, ("file", "patient"))
    wanted = [column.lower() for column in labels] or [column for column in own if column != "split"]
    if unknown := [column for column in wanted if column not in own]:
        raise ValueError(f"{table}: no column {', '.join(unknown)}; it has {', '.join(own) or 'no others'}")
    if not wanted:
        raise ValueError(f"{table}: no column of labels beside file, patient and split; add one")
    drawn = draw(locate(folder, patients=table, strict=strict), most=1 << 31, rng=numpy_generator(0, "all"))
    files = [drawn.located.found.files[row] for row in drawn.rows.tolist()]
    for file, facts in zip(files, drawn.facts, strict=True):
        if small := next((shape for shape in facts.shapes if side(shape, fit) < size), None):
            raise TooSmallError(
                f"{file.path}: {small[1]}×{small[0]} pixels; give a size of {side(small, fit)} at most, or take it out"
            )
        if slices and facts.images != slices:
            raise ValueError(
                f"{file.path}: holds {facts.images:,} slices, not {slices}; cut it to these, or take it out"
            )
    counts = [1] * len(files) if slices else drawn.counts
    has_split = "split" in own
    given = FileTable(table, ("patient", *wanted, *["split"] * has_split))
    paths = [file.name for file in files]
    cells = given.rows(paths, folder)
    patients = np.array([row[0].strip() for row in cells])
    marked = None
    if masks:
        if several := next((f for f, count in zip(files, drawn.counts, strict=True) if count > 1), None):
            raise ValueError(f"{several.path}: holds several images; masks are taken of files of one each")
        marked = MaskFiles(masks, files, [next(iter(f.shapes)) for f in drawn.facts], size=size, fit=fit)
    each = np.repeat(np.arange(len(files)), counts)
    codes, names = _labels(table, files, [row[1 : 1 + len(wanted)] for row in cells], wanted, classes)
    own_patients, numbered = np.unique(patients, return_inverse=True)
    split_rule = "splits as the table says" if has_split else "70/10/20 % of patients train/validation/test, at random"
    if has_split:
        split = _splits(table, files, [row[-1] for row in cells], patients)
    elif len(own_patients) < len(SHARES):
        raise ValueError(f"{table}: {counted(len(own_patients), 'patient')}; three splits need as many")
    else:
        split = split_codes(len(own_patients), SHARES, numpy_generator(0, "convert", name))[numbered].astype(np.uint8)
    told = [
        (given.unmatched(paths, folder), "of the table without an image in the folder"),
        (len(drawn.passed), "of the folder passed over as no images"),
        (sum(facts.is_colour for facts in drawn.facts), "of colour made grey by luma"),
        (sum(facts.bits > 8 for facts in drawn.facts), "of more than 8 bits stretched from percentile 1 to 99"),
    ]
    rules = [f"{counted(n, 'file')} {what}" for n, what in told if n]
    made_by = "; ".join([f"python -m lib.cohorts convert at {size} px, fit {fit}", *rules, split_rule])
    try:
        return Cohort(
            _Unread(files, counts, size, fit, slices, progress), numbered[each], codes[each], split[each],
            source_name=_names(files, counts), masks=marked, name=name, modality=modality, label_names=names,
            licence=licence, source=folder.name, made_by=made_by,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{table}: {error}") from error


class _Unread:
    """The images of files, read when they are asked for: in a Cohort's place of an array, (n, size, size) uint8.

    Of volumes (n, slices, size, size), a file each.
    """

    def __init__(
        self, files: Sequence[ImageFile], counts: Sequence[int], size: int, fit: str, slices: int, progress: Callable
    ):
        self._files, self._fit, self._progress = files, fit, progress
        self._slices = slices
        self._file = np.repeat(np.arange(len(files)), counts)
        first = np.cumsum([0, *counts[:-1]])
        self._frame = np.arange(len(self._file)) - first[self._file]
        self.shape: tuple[int, ...] = (len(self._file), *[slices] * bool(slices), size, size)
        self.ndim, self.dtype = len(self.shape), np.dtype("uint8")
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, which) -> np.ndarray:
        asked = np.arange(len(self))[which]
        index = np.atleast_1d(asked)
        starts = np.flatnonzero(np.diff(self._file[index], prepend=-1))
        pieces = np.split(index, starts[1:])
        images = [image for part in self._pool.map(self._read, pieces) for image in part]
        self._progress(int(index[-1]) + 1, len(self))
        return np.stack(images) if asked.ndim else images[0]

    def _read(self, rows: np.ndarray) -> list[np.ndarray]:
        """The images `rows` of one file, or the volume that it is."""
        file, frames = self._files[self._file[rows[0]]], self._frame[rows].tolist()
        shown = FORMATS[file.kind].read(file.path)
        if self._slices:
            return [self._as_bytes(list(shown), str(file.path))] * len(rows)
        few = enumerate(islice(shown, max(frames) + 1))
        read = {number: self._as_bytes([image], str(file.path))[0] for number, image in few if number in frames}
        return [read[frame] for frame in frames]

    def _as_bytes(self, images: Sequence[Shown], name: str) -> np.ndarray:
        """The images (k, size, size) with grey levels that they share."""
        pixels = np.stack([fitted(image.pixels, self.shape[-1], name, fit=self._fit) for image in images])
        if not all(image.is_8_bit for image in images):
            low, high = np.percentile(np.concatenate([image.pixels.ravel() for image in images]), _PERCENTILES)
            pixels = (pixels - low) * (255 / max(high - low, 1e-9))
        return np.rint(pixels.clip(0, 255)).astype(np.uint8)


def _names(files: Sequence[ImageFile], counts: Sequence[int]) -> list[str]:
    each = zip(files, counts, strict=True)
    return [file.name if n == 1 else f"{file.name} frame {number}" for file, n in each for number in range(n)]


def _labels(table: Path, files: Sequence[ImageFile], cells: list[tuple[str, ...]], columns: list[str], classes):
    """Codes (n,) of classes or (n, k) of findings, and their names."""
    texts = np.array([[cell.strip() for cell in row] for row in cells])
    lower = np.char.lower(texts)
    missing = np.isin(lower, _MISSING)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise ValueError(f"{table}: no {columns[column]} for {files[row].name}; fill it in")
    if len(columns) == 1:
        names, codes = np.unique(texts[:, 0], return_inverse=True)
        if not 2 <= len(names) <= _MOST_CLASSES:
            held = f"{len(names):,} different texts" if len(names) > 1 else f"only {str(names[0])!r}"
            raise ValueError(f"{table}: {columns[0]} holds {held}; give 2 to {_MOST_CLASSES} classes")
        if classes and sorted(classes) != names.tolist():
            raise ValueError(
                f"{table}: {columns[0]} holds {', '.join(names)}, and the classes are {', '.join(classes)}"
            )
        order = list(classes) or names.tolist()
        own = [f"{columns[0]} {text}" if _NUMBER.fullmatch(text) else text for text in order]  # figures name no column
        return np.array([order.index(name) for name in names])[codes], own
    if classes:
        raise ValueError(f"{table}: classes are of one column of labels, and there are {len(columns)}: name one")
    numbers = np.where(np.isin(lower, ("1", "1.0")), 1, np.where(np.isin(lower, ("0", "0.0")), 0, -1))
    if (numbers < 0).any():
        row, column = np.argwhere(numbers < 0)[0]
        raise ValueError(
            f"{table}: {columns[column]} of {files[row].name} is {str(texts[row, column])!r}; of several columns of "
            "labels each is a finding, 0 or 1: mend it, or name the labels"
        )
    return numbers, columns


def _splits(table: Path, files: Sequence[ImageFile], texts: list[str], patients: np.ndarray) -> np.ndarray:
    codes = [_SPLIT_WORDS.get(text.strip().lower(), -1) for text in texts]
    if -1 in codes:
        row = codes.index(-1)
        raise ValueError(f"{table}: the split of {files[row].name} is {texts[row]!r}; write {', '.join(SPLITS)}")
    first = dict(zip(patients[::-1].tolist(), codes[::-1], strict=True))  # of each patient that of the first file
    for file, patient, code in zip(files, patients.tolist(), codes, strict=True):
        if code != first[patient]:
            raise ValueError(f"{table}: patient {patient} stands in two splits (see {file.name}); split by patient")
    return np.array(codes, np.uint8)
