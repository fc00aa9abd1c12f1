"""DICOM files: what their headers say is checked before a pixel is decoded."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lib.cohorts.io.image_files import require_bounded
from lib.core.regular_files import require_regular

MOST_OF_A_FILE = 1 << 30  # bytes of all frames together, at four a number or more, as they are computed with
_RLE_UNTESTED = 1 << 24  # stored bytes of a frame; decoded, each becomes 64 at most
_RLE_SLACK = 1 << 16  # bytes by which a segment may exceed its pixels


def read_header(path: Path, *, mend: str, **options):
    """The pydicom data set of the file at `path`, its pixels undecoded; `options` are those of `pydicom.dcmread`.

    Raises ValueError, naming the file and the `mend`, if it is damaged, and for a deflated file, whose few bytes can
    become any number; and ImportError, with the command, if pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            "DICOM images need pydicom: run `pip install -e '.[data]'` in the project's folder"
        ) from error
    require_regular(path)
    try:
        kind = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
        header = None if kind == pydicom.uid.DeflatedExplicitVRLittleEndian else pydicom.dcmread(path, **options)
    except Exception as error:  # pydicom raises errors of many kinds
        raise ValueError(f"{path}: not a readable DICOM file; {mend}") from error
    if header is None:
        raise ValueError(f"{path}: a deflated DICOM file; save it with another transfer syntax")
    return header


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

    damaged = f"{path}: damaged, or not a DICOM image that pydicom can decode; {mend}"
    names = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
    try:
        high, wide, frames, samples, bits = (int(header.get(name) or 1) for name in names)
        if min(high, wide, frames, samples, bits) < 1:
            raise ValueError("less than one")
    except Exception as error:  # values are converted when they are asked for
        raise ValueError(damaged) from error
    require_bounded(path, (wide, high))
    if high * wide * frames * samples * max(-(-bits // 8), 4) > MOST_OF_A_FILE:
        raise ValueError(
            f"{path}: {frames:,} frames of {wide:,}×{high:,} pixels, {samples:,} numbers of {bits:,} bits each, take "
            f"more than {MOST_OF_A_FILE:,} bytes in all; give fewer frames a file"
        )
    found = 0
    try:
        _require_bounded_rle(header, frames, high * wide)
        for frame in iter_pixels(header):
            found += 1
            if found > frames:
                raise ValueError(f"more than {frames} frames")
            yield frame
        if not found:
            raise ValueError("no frame")
    except Exception as error:  # pydicom and its decoders raise errors of many kinds
        raise ValueError(damaged) from error


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
