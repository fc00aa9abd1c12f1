"""DICOM images in grey as a reader sees them: window, inversion, colours and padding as the header says."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.cohorts.io import dicom_files
from lib.cohorts.io.image_facts import MEND, TO_LUMA, Facts, NoImageError, Shown

if TYPE_CHECKING:
    from pydicom import Dataset

_GREY, _COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_")
# Classes that hold numbers in the place of pixels: segmentations, of bits and of labels, and doses.
_NO_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a mask",
    "1.2.840.10008.5.1.4.1.1.66.7": "a mask",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose",
}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NAMES = ("PatientID", "StudyInstanceUID")
_DEFERRED = 1 << 12  # bytes; longer elements stay on the disk while a header is read


def facts(path: Path) -> Facts:
    """Shape, depth and patient of the frames at `path`.

    Raises ValueError, naming the file and what to do, if it cannot be shown or no decoder is installed, NoImageError
    if it holds no image, and ImportError without pydicom.
    """
    header, _ = _opened(path, defer_size=_DEFERRED)
    high, wide, frames = dicom_files.claimed_size(path, header, mend=MEND)
    dicom_files.require_decoder(path, header)
    patient, study = (str(header.get(name, "") or "").strip() for name in _NAMES)
    return Facts({(high, wide): frames}, _bits(header), patient, study, not _is_grey(header))


def read(path: Path) -> Iterator[Shown]:
    """Each frame at `path`, decoded when it is asked for. Errors as `facts`, and ValueError if it is damaged.

    Grey of more than eight bits is shown by the first window (or VOI table) of the header, if it has one that leaves
    something to see, as 0 to 255; otherwise as it is stored. MONOCHROME1 is inverted, colours become luma, and padding
    takes the darkest value of the other pixels.
    """
    header, padding = _opened(path)
    for number, frame in enumerate(dicom_files.read_frames(path, header, mend=MEND)):  # one at a time is in memory
        if _is_grey(header):
            yield _shown_grey(path, header, number, frame, padding)
        else:
            yield _shown_colour(path, header, frame)


def _opened(path: Path, **options) -> tuple["Dataset", list[int] | None]:
    """The header of an image, its values tried, and the limits of its padding."""
    header = dicom_files.read_header(path, mend=MEND, **options)
    _require_image(header)
    try:
        with warnings.catch_warnings(action="ignore"):  # pydicom's, of values that a later version will refuse
            refused, padding = _refused_colours(header), _padding_limits(header)
            _ = _is_falling(header), _is_8_bit(header), *(str(header.get(name)) for name in _NAMES)
    except Exception as error:  # values are converted when they are asked for
        raise ValueError(f"{path}: a damaged DICOM header; {MEND}") from error
    if refused:
        raise ValueError(f"{path}: {refused}; give grey, RGB, YBR or PALETTE COLOR")
    return header, padding


def _require_image(header) -> None:
    kind = header.get("SOPClassUID")
    name = getattr(kind, "name", None) or "of no class"
    if not any(element in header for element in _PIXELS):
        raise NoImageError(f"a DICOM file without pixels ({name})")
    if kind in _NO_IMAGES:
        raise NoImageError(f"{_NO_IMAGES[kind]}, no image of a patient ({name})")


def _refused_colours(header) -> str | None:
    kind, samples = str(header.get("PhotometricInterpretation", "")), int(header.get("SamplesPerPixel", 1))
    is_known = kind in (*_GREY, "PALETTE COLOR") if samples == 1 else samples == 3 and kind.startswith(_COLOUR)
    return None if is_known else f"{kind or 'no colours named'} with {samples} samples a pixel"


def _bits(header) -> int:
    """Bits of a number, as stored."""
    if "PixelData" not in header:
        return 32 if "FloatPixelData" in header else 64
    return int(header.get("BitsStored", 16))


def _is_8_bit(header) -> bool:
    return _bits(header) == 8 and not int(header.get("PixelRepresentation", 0) or 0)


def _is_falling(header) -> bool:
    return (header.get("PhotometricInterpretation") == "MONOCHROME1") != (float(header.get("RescaleSlope", 1) or 1) < 0)


def _is_grey(header) -> bool:
    return header.get("PhotometricInterpretation") in _GREY


def _shown_colour(path: Path, header, frame: np.ndarray) -> Shown:
    is_8_bit = _is_8_bit(header)
    if frame.ndim == 2:
        from pydicom.pixels import apply_color_lut

        try:
            frame = apply_color_lut(frame, header)
        except Exception as error:  # of a palette that is absent or damaged
            raise ValueError(f"{path}: its palette is absent or damaged; {MEND}") from error
        if frame.dtype != np.uint8:
            frame = frame * np.float32(255 / np.iinfo(frame.dtype).max)
        is_8_bit = True
    rules = frozenset({"of colour made grey by luma"})
    return Shown(frame[..., :3].astype(np.float32) @ TO_LUMA, is_8_bit, rules)


def _shown_grey(path: Path, header, number: int, frame: np.ndarray, padding: list[int] | None) -> Shown:
    is_8_bit, rules = _is_8_bit(header), set()
    is_padding = np.zeros(frame.shape, bool)
    if padding:
        is_padding = (frame >= padding[0]) & (frame <= padding[1])
    if is_padding.any():
        rules.add("with padding, which takes the darkest value")
    is_falling = _is_falling(header)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        rules.add("of MONOCHROME1 inverted")
    pixels = frame.astype(np.float32)
    if not is_8_bit and not is_padding.all():
        window = _windowed(header, number, frame)
        if window is not None:
            is_useful = np.diff(np.percentile(window[~is_padding], (1, 99)))[0] > 0
            rules.add("shown by the window of the header" if is_useful else "whose window leaves nothing to see")
            if is_useful:  # a window follows the slope
                pixels, is_8_bit = window, True
                is_falling = header.get("PhotometricInterpretation") == "MONOCHROME1"
    if is_padding.all():
        return Shown(np.zeros_like(pixels), is_8_bit, frozenset(rules))
    if is_falling:
        low, high = (0, 255) if is_8_bit else (pixels[~is_padding].min(), pixels[~is_padding].max())
        pixels = low + high - pixels
    return Shown(np.where(is_padding, pixels[~is_padding].min(), pixels), is_8_bit, frozenset(rules))


def _padding_limits(header) -> list[int] | None:
    """The least and the greatest value of padding, from the value or the range in the header."""
    if (value := header.get("PixelPaddingValue")) is None:
        return None
    return sorted((int(value), int(header.get("PixelPaddingRangeLimit", value))))


def _windowed(header, number: int, frame: np.ndarray) -> np.ndarray | None:
    """`_by_header` where it is in order; a window that is damaged is none, and what is stored is shown instead."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return _by_header(header, number, frame)
    except Exception:  # values are converted when they are asked for
        return None


def _by_header(header, number: int, frame: np.ndarray) -> np.ndarray | None:
    """The frame by its VOI table, else by its first window (DICOM PS3.3, C.11.2), 0 to 255; None if it has neither."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    if header.get("ModalityLUTSequence"):
        values = np.asarray(apply_modality_lut(frame, header))
    else:
        scale = ("RescaleSlope", 1), ("RescaleIntercept", 0)
        slope, intercept = (
            float(_of_frame(header, number, "PixelValueTransformationSequence", n, d)) for n, d in scale
        )
        values = frame if (slope, intercept) == (1, 0) else frame * np.float32(slope) + np.float32(intercept)
    if table := header.get("VOILUTSequence"):
        shown = apply_voi(np.rint(values).astype(np.int32), header)
        return (shown * (255 / (2 ** int(table[0].LUTDescriptor[2]) - 1))).clip(0, 255).astype(np.float32)
    names = ("WindowCenter", "WindowWidth", "VOILUTFunction")
    found = [_of_frame(header, number, "FrameVOILUTSequence", name, None) for name in names]
    if found[0] in (None, "") or found[1] in (None, ""):
        return None
    centre, width = (float(np.ravel(np.asarray(value, float))[0]) for value in found[:2])
    return _by_window(values.astype(np.float32), centre, width, str(found[2] or "LINEAR"))


def _by_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray | None:
    if not width > 0 or not np.isfinite(centre):
        return None
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -80, 80)))
    elif function == "LINEAR_EXACT":
        share = (values - centre) / width + 0.5
    else:
        share = (values - (centre - 0.5)) / max(width - 1, 1e-3) + 0.5
    return (share.clip(0, 1) * 255).astype(np.float32)


def _of_frame(header, number: int, group: str, name: str, default):
    """A value of one frame: of its own functional groups, of those of all frames, or of the header."""
    own, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
    for groups in (own[number] if own and number < len(own) else None, shared[0] if shared else None):
        if groups is not None and groups.get(group) and name in groups[group][0]:
            return groups[group][0].get(name)
    value = header.get(name)
    return default if value is None or value == "" else value
