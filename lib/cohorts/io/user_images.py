"""A user's own images at one working size: a cohort file, a folder of DICOM, PNG and JPEG files, or one such file.

`OpenedImages.rules` states which of these rules were applied:
size: every image is squeezed to the working size by area averages, so its aspect ratio is lost; a smaller image is
refused.
grey: colour becomes luma, MONOCHROME1 is inverted, and padding pixels take the darkest value of the other pixels.
patient: the patient is named by the cohort file, by the given table or by the DICOM header; otherwise every image is
its own patient.
split: the rows of a cohort file are treated alike, whether they are of train, validation or test.
limit: beyond a limit, whole patients (or files, if no table names their patients) are drawn at random until the limit
is reached; the other images are not read.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io import dicom_files
from lib.cohorts.io.image_files import UNREADABLE, open_image
from lib.core.regular_files import require_regular

SUFFIXES = {"DICOM": (".dcm", ".dicom", ".ima"), "PNG": (".png",), "JPEG": (".jpg", ".jpeg")}
COHORT_SUFFIXES = (".h5", ".hdf5")
_KIND = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes}
_TO_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601
_BLOCK, _BLOCK_BYTES = 512, 1 << 28  # of rows read at a time
_NO_NAME = ("", "nan", "none", "null", "<na>", "nat")  # as programs write a missing value
_LONGEST_NAME = 1024  # characters; NumPy gives every name as much room as the longest
_MEND = "repair the file or take it out"


class TooSmallError(ValueError):
    """An image has fewer pixels than the working size."""


class OpenedImages(NamedTuple):
    """What `open_images` read."""

    images: np.ndarray  # (n, size, size) float32, 0 to 255 if `is_8_bit`, otherwise as stored
    patients: np.ndarray  # (n,) str; the image's own name if no patient is named
    names: np.ndarray  # (n,) str
    sides: np.ndarray  # (n,) int64, the shorter side of each stored image, in pixels
    is_8_bit: bool
    everyone: np.ndarray  # (p,) str, all patients known without reading, also those of images that were not read
    found: int  # images in the source, as far as known without reading all; n of them were kept
    rules: tuple[str, ...]  # sentences that say what was done


def open_images(
    source: str | Path | Cohort,
    *,
    size: int,
    most: int,
    patients: str | Path | None = None,
    rng: np.random.Generator,
) -> OpenedImages:
    """Read at most `most` images from `source` at `size` × `size`, by the rules of this module.

    source: a Cohort or its file, a folder with its subfolders, or one image file. Each frame of a DICOM file is an
    image, and a file without a known suffix is DICOM if its bytes say so. patients: a table with the columns file and
    patient, whose paths begin with the name of the folder or within it.
    Raises ValueError, in one sentence that names the file, if there is nothing to read, for a file that is damaged,
    smaller than `size` or of colours other than RGB, for NaN, and for a file that is absent from the table or has two
    patients in it. Raises ImportError, with the command, if DICOM needs pydicom.
    """
    if size < 8 or most < 1:
        raise ValueError(f"size is {size} and most {most}: give 8 pixels and one image at least")
    if isinstance(source, Cohort):
        return _of_cohort(source, size, most, rng)
    if not str(source).strip():
        raise ValueError("a path is empty: give all three of train, heldout and synthetic")
    path = Path(str(source)).expanduser()
    if not path.exists():
        raise ValueError(
            f"{path.absolute()}: no such file or folder; give a cohort file, a folder of images or one image"
        )
    if not path.is_dir():
        require_regular(path)
    if path.suffix.lower() in COHORT_SUFFIXES:
        return _of_cohort(Cohort.open(path, closed_set=True), size, most, rng)
    return _of_files(path, size, most, patients, rng)


def counted(n: int, noun: str) -> str:
    """The number and the noun, which is in the plural unless `n` is 1."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def squeezed(image: np.ndarray, size: int, name: str) -> np.ndarray:
    """`image` (H, W) as (size, size) float32, each pixel the area average of what it covers.

    Raises ValueError, naming the image, for NaN, and TooSmallError if a side has fewer pixels than `size`.
    """
    if min(image.shape) < size:
        raise TooSmallError(f"{name}: {image.shape[1]}×{image.shape[0]} pixels; give {size}×{size} at least")
    image = np.ascontiguousarray(image, np.float32)
    if not np.isfinite(image).all():
        raise ValueError(f"{name}: holds NaN or infinite pixels; repair the image or take it out")
    if image.shape == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))


def _of_cohort(cohort: Cohort, size: int, most: int, rng: np.random.Generator) -> OpenedImages:
    rows, rules = _drawn(cohort.patient.astype(str), most, rng)
    high, wide = cohort.images.shape[-2:]
    channels = cohort.images.shape[1] if cohort.images.ndim == 4 else 1
    if channels not in (1, 3):
        raise ValueError(f"{cohort.name}: images of {channels} channels; give grey or RGB")
    splits = [name for name, code in SPLITS.items() if (cohort.split == code).any()]
    rules += [f"its sets {', '.join(splits)} taken alike: for one of them, give a file of it"] * (len(splits) > 1)
    rules += [f"{channels} channels made grey by luma"] * (channels == 3) + _size_rule({(high, wide)}, size)
    names = cohort.source_name
    if names is None:
        names = np.array([f"{cohort.name} {i}" for i in range(len(cohort))])
    names = names[rows]
    low, top = cohort.value_range
    images = np.empty((len(rows), size, size), np.float32)
    step = max(1, min(_BLOCK, _BLOCK_BYTES // (4 * channels * high * wide)))
    for start in range(0, len(rows), step):
        block = np.asarray(cohort.images[rows[start : start + step]], np.float32)
        if cohort.images.ndim == 4:
            block = np.einsum("nchw,c->nhw", block, _TO_LUMA if channels == 3 else np.ones(1, np.float32))
        _require_range(block, (low, top), cohort.name, names[start : start + step])
        block = (block - low) * (255 / (top - low))
        for place, image in enumerate(block, start):
            images[place] = squeezed(image, size, f"{cohort.name}, image {names[place]}")
    patients = cohort.patient.astype(str)
    sides = np.full(len(rows), min(high, wide))
    darkest, brightest = images.min(), images.max()
    if cohort.images.dtype.kind == "f" and brightest - darkest < 0.02 * 255:  # too few grey levels would remain
        pixels = [low + of * (top - low) / 255 for of in (darkest, brightest)]
        raise ValueError(
            f"{cohort.name}: all pixels lie from {pixels[0]:g} to {pixels[1]:g}, and the file's value range is "
            f"{low:g} to {top:g}; set value_range to what the pixels are given in"
        )
    return OpenedImages(images, patients[rows], names, sides, True, np.unique(patients), len(cohort), tuple(rules))


def _require_range(block: np.ndarray, limits: tuple[float, float], name: str, images: np.ndarray) -> None:
    low, top = limits
    least, most = (extreme(block, axis=(1, 2)) for extreme in (np.min, np.max))
    outside = np.flatnonzero((least < low - 1e-3 * (top - low)) | (most > top + 1e-3 * (top - low)))
    if len(outside):
        i = outside[0]
        raise ValueError(
            f"{name}, image {images[i]}: pixels from {least[i]:g} to {most[i]:g}, and the file's value range is "
            f"{low:g} to {top:g}; set value_range, or convert the images to uint8"
        )


def _of_files(path: Path, size: int, most: int, table, rng: np.random.Generator) -> OpenedImages:
    folder = path if path.is_dir() else path.parent
    every = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = [p for p in every if not p.name.startswith(".") and _kind(p)]
    if not files:
        known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise ValueError(f"{path}: no image in it; known are {known}, and cohort files {', '.join(COHORT_SUFFIXES)}")
    rules = [f"{counted(len(every) - len(files), 'other file')} passed over"] * (len(every) > len(files))
    of = None if not table else _patients_of(files, folder, Path(table))
    # The header of a DICOM file names its patient, but reading all headers of a large set takes longer than the audit.
    by = "file, whose patients were not compared" if of is None else "patient"
    rows, drawn = _drawn(np.arange(len(files)).astype(str) if of is None else of, most, rng, by=by)
    images, patients, names, depths, shapes, how, unnamed = [], [], [], [], [], [], 0
    for row in rows:
        name = files[row].relative_to(folder).as_posix()
        frames, shape, deep, header, done = _read(files[row], size)
        for number, frame in enumerate(frames):
            names.append(name if len(frames) == 1 else f"{name} frame {number}")
            images.append(frame)
            patients.append(of[row] if of is not None else header or f"{folder.resolve()}/{names[-1]}")
            shapes.append(shape)
        depths.append(deep)
        how += done
        unnamed += len(frames) if of is None and not header else 0
        if len(images) >= most:
            break
    rules += drawn + [f"{counted(how.count(done), 'file')} {done}" for done in sorted(set(how))]
    rules += _size_rule(set(shapes), size)
    if len(images) > most or len(depths) < len(rows):  # some files have many frames
        rules.append(f"the first {most:,} images of these files kept; the others were not looked at")
    if unnamed:
        rules.append(f"{counted(unnamed, 'image')} without a patient, each its own: intervals may be too narrow")
    kept, sides = np.array(patients[:most]), np.array([min(shape) for shape in shapes[:most]])
    return OpenedImages(
        np.stack(images[:most]), kept, np.array(names[:most]), sides, not any(depths),
        np.unique(kept if of is None else of), len(images) + len(files) - len(depths), tuple(rules),
    )  # fmt: skip


def _drawn(
    patients: np.ndarray, most: int, rng: np.random.Generator, *, by: str = "patient"
) -> tuple[np.ndarray, list[str]]:
    """The rows, ascending, of up to `most` images of patients drawn at random, and the rule if some are left out."""
    if len(patients) <= most:
        return np.arange(len(patients)), []
    code = np.unique(patients, return_inverse=True)[1]
    turn = rng.permutation(code.max() + 1)[code]
    rows = np.sort(np.argsort(turn, kind="stable")[:most])
    return rows, [f"{most:,} of {len(patients):,} images drawn at random, by {by}; the others were not looked at"]


def _size_rule(shapes: set[tuple[int, int]], size: int) -> list[str]:
    if len(shapes) == 1:
        return []
    return [f"images of {len(shapes)} sizes, each squeezed to {size}×{size} whatever its aspect"]


def _patients_of(files: Sequence[Path], folder: Path, table: Path) -> np.ndarray:
    require_regular(table)
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{table}: not a readable table ({error}); give a CSV with the columns file, patient"
        ) from error
    if not rows or not {"file", "patient"} <= set(rows[0]):
        raise ValueError(f"{table}: no rows, or no columns file and patient; give a CSV with both")
    of: dict[str, set[str]] = {}
    found: list[str] = []
    for row in rows:
        of.setdefault(row["file"], set()).add(row["patient"] or "")
    for file in files:
        within = file.relative_to(folder).as_posix()
        named = of.get(f"{folder.name}/{within}", set()) | of.get(within, set())
        if len(named) > 1:
            raise ValueError(
                f"{table}: {folder.name}/{within} has patients {', '.join(map(repr, sorted(named)))}; leave one"
            )
        if not any(name.strip().lower() not in _NO_NAME for name in named):
            raise ValueError(f"{table}: no patient for {folder.name}/{within}; add its row")
        if (longest := max(map(len, named))) > _LONGEST_NAME:
            raise ValueError(
                f"{table}: a patient of {longest:,} characters for {folder.name}/{within}; "
                f"give {_LONGEST_NAME:,} at most"
            )
        found += named
    return np.array(found)


def _kind(path: Path) -> str | None:
    """DICOM, PNG or JPEG by the suffix; a file of another suffix is DICOM by its mark, unless it indexes a medium."""
    if (kind := _KIND.get(path.suffix.lower())) or path.name.upper() == "DICOMDIR":
        return kind
    with path.open("rb") as file:
        return "DICOM" if file.read(132)[128:] == b"DICM" else None


def _read(path: Path, size: int) -> tuple[list[np.ndarray], tuple[int, int], bool, str, list[str]]:
    """Frames at `size` × `size`, their stored (H, W), whether they exceed 8 bits, the patient if named, and rules."""
    return (_read_dicom if _kind(path) == "DICOM" else _read_picture)(path, size)


def _read_picture(path: Path, size: int):
    with open_image(path, ("PNG", "JPEG"), mend=_MEND) as image:
        deep = image.mode.startswith(("I", "F"))
        rules = ["of colour made grey by luma"] * (not deep and image.mode not in ("L", "LA", "1"))
        try:
            pixels = np.asarray(image if deep else image.convert("L"), np.float32)
        except UNREADABLE as error:
            raise ValueError(f"{path}: truncated or damaged; {_MEND}") from error
    return [squeezed(pixels, size, str(path))], pixels.shape, deep, "", rules


def _read_dicom(path: Path, size: int):
    header = dicom_files.read_header(path, mend=_MEND)
    try:
        kind, samples = header.get("PhotometricInterpretation"), int(header.get("SamplesPerPixel", 1))
        slope, bits = float(header.get("RescaleSlope", 1) or 1), int(header.get("BitsStored", 16))
        limits, patient = _padding_limits(header), str(header.get("PatientID", "") or "")
    except Exception as error:  # values are converted when they are asked for
        raise ValueError(f"{path}: a damaged DICOM header; {_MEND}") from error
    if (kind, samples) != ("RGB", 3) and (kind not in ("MONOCHROME1", "MONOCHROME2") or samples != 1):
        raise ValueError(f"{path}: {kind} with {samples} samples a pixel; give grey or RGB")
    inverted = (kind == "MONOCHROME1") != (slope < 0)
    shown, has_padding = [], False
    for frame in dicom_files.read_frames(path, header, mend=_MEND):  # one at a time is in memory
        if samples == 3:
            frame = frame.astype(np.float32) @ _TO_LUMA
        padding = np.zeros(frame.shape, bool)
        if limits and samples == 1:
            padding = (frame >= limits[0]) & (frame <= limits[1])
        has_padding |= bool(padding.any())
        shape = frame.shape
        shown.append(squeezed(_shown(frame.astype(np.float32), padding, inverted), size, str(path)))
    rules = ["of colour made grey by luma"] * (samples == 3) + ["of MONOCHROME1 inverted"] * (kind == "MONOCHROME1")
    rules += ["with padding, which takes the darkest value"] * has_padding
    return shown, shape, bits != 8, patient, rules


def _padding_limits(header) -> list[int] | None:
    """The least and the greatest value of padding, from the value or the range in the header."""
    if (value := header.get("PixelPaddingValue")) is None:
        return None
    return sorted((int(value), int(header.get("PixelPaddingRangeLimit", value))))


def _shown(frame: np.ndarray, padding: np.ndarray, inverted: bool) -> np.ndarray:
    """The frame as a reader sees it: not inverted, and with dark padding."""
    if padding.all():
        return np.zeros_like(frame)
    low, high = frame[~padding].min(), frame[~padding].max()
    return np.where(padding, low, low + high - frame if inverted else frame)
