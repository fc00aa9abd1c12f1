"""DICOM files: what their headers say is checked before a pixel is decoded."""

from pathlib import Path

import numpy as np

from lib.cohorts.io.image_files import require_bounded
from lib.core.regular_files import require_regular

MOST_OF_A_FILE = 1 << 28  # pixels of all frames together


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
    """The decoded pixels of `header` (see `read_header`), as pydicom shapes them.

    Raises ValueError, naming the file, if it is damaged or cannot be decoded, if a frame has more pixels than an image
    may have (`require_bounded`), and if its frames have more than MOST_OF_A_FILE together.
    """
    damaged = f"{path}: damaged, or not a DICOM image that pydicom can decode; {mend}"
    try:
        high, wide, frames = (int(header.get(name) or 1) for name in ("Rows", "Columns", "NumberOfFrames"))
    except Exception as error:  # values are converted when they are asked for
        raise ValueError(damaged) from error
    require_bounded(path, (wide, high))
    if high * wide * frames > MOST_OF_A_FILE:
        raise ValueError(
            f"{path}: {frames:,} frames of {wide:,}×{high:,} pixels, more than {MOST_OF_A_FILE:,} pixels in all; "
            "give fewer frames a file"
        )
    try:
        return header.pixel_array
    except Exception as error:  # pydicom and its decoders raise errors of many kinds
        raise ValueError(damaged) from error
