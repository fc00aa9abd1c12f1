"""Synthetic images as DICOM: secondary captures with new identifiers, and no attribute of a real file."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from lib.cohorts.rows import in_blocks
from lib.core.files import atomic

_MODALITY = "OT"  # other: no device acquired them


def write_dicom(
    folder: str | Path, images, labels: Sequence[str], *, series: str, made_by: str
) -> list[Path]:  # fmt: skip
    """Write each image as FOLDER/000001.dcm, and return the paths.

    images: uint8 (n, H, W), (n, 3, H, W) in colour, or (n, slices, H, W), of which each volume is a file of so many
    frames; read in blocks. labels: a text for each, its ImageComments. series: the SeriesDescription. made_by: the
    DerivationDescription. Every file is a secondary capture, of a volume a multi-frame grayscale byte one,
    ConversionType SYN, of the patient "SYNTHETIC^", whom its number names, with BurnedInAnnotation NO. UIDs follow from
    the series, the number and the pixels, so that the same release has the same; the study and the series are one.
    Raises ImportError, with the command, without pydicom, and OSError, naming the file, if one cannot be written.
    """
    try:
        import pydicom
        from pydicom.uid import (
            ExplicitVRLittleEndian,
            MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
            SecondaryCaptureImageStorage,
            generate_uid,
        )
    except ImportError as error:
        raise ImportError('DICOM needs pydicom: pip install -e ".[data]"') from error
    paths = []
    for number, (image, label) in enumerate(zip(chain.from_iterable(in_blocks(images)), labels, strict=True), 1):
        name = f"{number:06d}"
        is_colour = image.ndim == 3 and len(image) == 3
        is_volume = image.ndim == 3 and not is_colour
        kind = MultiFrameGrayscaleByteSecondaryCaptureImageStorage if is_volume else SecondaryCaptureImageStorage
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = kind
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, name, image.tobytes().hex()])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
        data.ImageType = ["DERIVED", "SECONDARY"]
        data.Modality, data.ConversionType = _MODALITY, "SYN"
        data.PatientName, data.PatientID = "SYNTHETIC^", f"SYNTHETIC-{name}"
        data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "Synthetic image, drawn by a generator"
        data.StudyInstanceUID = generate_uid(entropy_srcs=[series, "study"])
        data.SeriesInstanceUID = generate_uid(entropy_srcs=[series, "series"])
        for absent in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"):
            setattr(data, absent, "")
        data.ReferringPhysicianName = ""
        data.SeriesNumber, data.InstanceNumber = 1, number
        data.SeriesDescription, data.ImageComments, data.DerivationDescription = series[:64], label[:10240], made_by
        data.BurnedInAnnotation = "NO"
        data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if is_colour else (1, "MONOCHROME2")
        if is_colour:
            data.PlanarConfiguration = 1  # channel after channel, as they lie here
        data.PixelRepresentation = 0
        data.Rows, data.Columns = image.shape[-2:]
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        if is_volume:
            data.NumberOfFrames, data.FrameIncrementPointer = len(image), 0x00181065
            data.FrameTimeVector = [0] * len(image)
        pixels = np.ascontiguousarray(image).tobytes()
        data.PixelData = pixels + b"\0" * (len(pixels) % 2)
        path = Path(folder) / f"{name}.dcm"
        with atomic(path) as partial:
            data.save_as(partial, enforce_file_format=True)
        paths.append(path)
    return paths
