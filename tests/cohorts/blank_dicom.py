"""The empty DICOM image that tests fill in."""

import pytest


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
