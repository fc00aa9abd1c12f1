"""DICOM files: what their headers say is checked before a pixel is decoded."""

import importlib.util
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lib.cohorts.io.image_files import require_bounded
from lib.core.regular_files import refuse_unreadable, require_regular

MOST_OF_A_FILE = 1 << 30  # bytes of all frames together, at four a number or more, as they are computed with
_RLE_UNTESTED = 1 << 24  # stored bytes of a frame; decoded, each becomes 64 at most
_RLE_SLACK = 1 << 16  # bytes by which a segment may exceed its pixels
_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0028)  # of study, patient, acquisition, image and pixels
_INSTALL = "run `pip install -e '.[data]'` in the project's folder"


def read_header(path: Path, *, mend: str, **options):
    """The pydicom data set of the file at `path`, its pixels undecoded; `options` are those of `pydicom.dcmread`.

    A file without preamble and mark is read if it has an element of study, patient or image, and a transfer syntax
    that is not named is that in which the file is written.
    Raises ValueError, naming the file and the `mend`, if it may not be read or is damaged, and for a deflated file,
    whose few bytes can become any number; and ImportError, with the command, if pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(f"DICOM images need pydicom: {_INSTALL}") from error
    require_regular(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # pydicom's, of values that a later version will refuse
            if not (is_deflated := _is_deflated(path)):
                header = pydicom.dcmread(path, force=True, **options)
                _name_transfer_syntax(header)
    except Exception as error:  # pydicom raises errors of many kinds
        refuse_unreadable(path, error)
        raise ValueError(f"{path}: not a readable DICOM file; {mend}") from error
    if is_deflated:
        raise ValueError(f"{path}: a deflated DICOM file; save it with another transfer syntax")
    known = pydicom.datadict.dictionary_has_tag
    if not _has_mark(path) and not any(tag.group in _GROUPS and known(tag) for tag in header.keys()):
        raise ValueError(f"{path}: not a readable DICOM file; {mend}")
    return header


def _has_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_deflated(path: Path) -> bool:
    import pydicom

    if _has_mark(path):
        kind = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
        return kind == pydicom.uid.DeflatedExplicitVRLittleEndian
    with path.open("rb") as file:  # without the mark there may still be its group 2
        head = file.read(4096)
    return pydicom.uid.DeflatedExplicitVRLittleEndian.encode() in head


def _name_transfer_syntax(header) -> None:
    """Name the transfer syntax of a file that does not, by how it was read; compressed pixels do not tell theirs."""
    import pydicom

    if not hasattr(header, "file_meta"):
        header.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" in header.file_meta or ("PixelData" in header and header["PixelData"].is_undefined_length):
        return
    is_implicit, is_little = header.original_encoding
    kinds = {(True, True): "ImplicitVRLittleEndian", (False, True): "ExplicitVRLittleEndian"}
    header.file_meta.TransferSyntaxUID = getattr(
        pydicom.uid, kinds.get((is_implicit, is_little), "ExplicitVRBigEndian")
    )


def require_decoder(path: Path, header) -> None:
    """Raise ValueError, naming the file and what to do, if no decoder for its transfer syntax is installed."""
    from pydicom.pixels import get_decoder

    kind = header.file_meta.get("TransferSyntaxUID")
    if kind is None:
        raise ValueError(f"{path}: compressed pixels, and no transfer syntax says how; save it again where it was made")
    try:
        is_available = get_decoder(kind).is_available
    except NotImplementedError as error:
        raise ValueError(
            f"{path}: pixels in {kind.name}, which pydicom does not decode; save it another way"
        ) from error
    if not is_available:
        raise ValueError(f"{path}: pixels in {kind.name}, for which no decoder is installed; {_INSTALL}")


def read_pixels(path: Path, header, *, mend: str) -> np.ndarray:
    """The decoded pixels of `header` (see `read_header`), of one frame or of several on a first axis.

    Raises ValueError as `read_frames` does.
    """
    frames = list(read_frames(path, header, mend=mend))
    return frames[0] if len(frames) == 1 else np.stack(frames)


def read_frames(path: Path, header, *, mend: str) -> Iterator[np.ndarray]:
    """Each frame of `header` (see `read_header`), (H, W) or (H, W, samples), decoded when it is asked for.

    Raises ValueError, naming the file, if it is damaged or cannot be decoded, if a frame has more pixels than an image
    may have (`require_bounded`), if its frames take more than MOST_OF_A_FILE together, and if a frame in RLE would
    become longer than its pixels.
    """
    from pydicom.pixels import iter_pixels

    high, wide, frames = claimed_size(path, header, mend=mend)
    require_decoder(path, header)
    found = 0
    try:
        _require_bounded_rle(header, frames, high * wide)
        each = iter_pixels(header)
        while True:
            with warnings.catch_warnings(action="ignore"):
                frame = next(each, None)
            if frame is None:
                break
            found += 1
            if found > frames:
                raise ValueError(f"more than {frames} frames")
            yield frame
        if not found:
            raise ValueError("no frame")
    except Exception as error:  # pydicom and its decoders raise errors of many kinds
        kind = header.file_meta.TransferSyntaxUID
        if kind.is_encapsulated and importlib.util.find_spec("pylibjpeg") is None and not kind.name.startswith("RLE"):
            raise ValueError(
                f"{path}: damaged, or pixels in {kind.name} of a sort that the installed decoders cannot decode; "
                f"{_INSTALL}, or {mend}"
            ) from error
        raise ValueError(f"{path}: damaged, or not a DICOM image that pydicom can decode; {mend}") from error


def claimed_size(path: Path, header, *, mend: str) -> tuple[int, int, int]:
    """Rows, columns and frames as `header` says; errors as `read_frames`, before anything is decoded."""
    names = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
    try:
        high, wide, frames, samples, bits = (int(header.get(name) or 1) for name in names)
        if min(high, wide, frames, samples, bits) < 1:
            raise ValueError("less than one")
    except Exception as error:  # values are converted when they are asked for
        raise ValueError(f"{path}: damaged, or not a DICOM image that pydicom can decode; {mend}") from error
    require_bounded(path, (wide, high))
    if high * wide * frames * samples * max(-(-bits // 8), 4) > MOST_OF_A_FILE:
        raise ValueError(
            f"{path}: {frames:,} frames of {wide:,}×{high:,} pixels, {samples:,} numbers of {bits:,} bits each, take "
            f"more than {MOST_OF_A_FILE:,} bytes in all; give fewer frames a file"
        )
    return high, wide, frames


def _require_bounded_rle(header, frames: int, pixels: int) -> None:
    """Raise ValueError if a segment of a frame in RLE, which pydicom decodes to its end, exceeds its pixels."""
    from pydicom.encaps import generate_frames
    from pydicom.uid import RLELossless

    if header.file_meta.TransferSyntaxUID != RLELossless or len(header.PixelData) <= _RLE_UNTESTED:
        return
    for frame in generate_frames(header.PixelData, number_of_frames=frames):
        if len(frame) <= _RLE_UNTESTED:
            continue
        count, *starts = struct.unpack("<16L", frame[:64])
        for start, end in zip(starts[:count], [*starts[1:count], len(frame)], strict=True):
            if _rle_length(frame[start:end], pixels + _RLE_SLACK) > pixels + _RLE_SLACK:
                raise ValueError("a segment in RLE that is longer than its pixels")


def _rle_length(segment: bytes, most: int) -> int:
    """The number of bytes that `segment` becomes (DICOM PS3.5, annex G), counted until it exceeds `most`."""
    at = length = 0
    while at < len(segment) and length <= most:
        control = segment[at]
        at += 2 if control > 128 else control + 2 if control < 128 else 1
        length += 257 - control if control > 128 else control + 1 if control < 128 else 0
    return length
