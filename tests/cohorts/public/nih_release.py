"""NIH ChestX-ray14 as it is published, small: four radiographs of three patients."""

import gzip

from lib.cohorts.public import nih_cxr14
from tests.cohorts.toy import paint

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"


ROWS = [
    "00000001_000.png,Hernia|Atelectasis,0,1,57,M,PA",
    "00000001_001.png,No Finding,1,1,58,M,AP",
    "00000002_000.png,Pneumonia,0,2,80,F,AP",
    "00000003_000.png,No Finding,0,3,81,F,PA",
]


RADIOGRAPHS = [row.split(",")[0] for row in ROWS]


def release(folder, layout="images_001/images/{}", rows=ROWS, lists=True):
    """The official layout with four radiographs of three patients."""
    for number, radiograph in enumerate(RADIOGRAPHS):
        paint(folder / layout.format(radiograph), 512, mode=("L", "RGBA")[number % 2], value=40 * number)
    (folder / "Data_Entry_2017_v2020.csv").write_text(HEADER + "\n".join(rows) + "\n")
    if lists:
        (folder / "train_val_list.txt").write_text("\n".join(RADIOGRAPHS[:3]) + "\n")
        (folder / "test_list.txt").write_text(RADIOGRAPHS[3] + "\n")
    return folder


def subset(folder):
    """Three of the radiographs, and the table of all beside them, as the subset of 1000 is laid out."""
    for radiograph, name in (
        (RADIOGRAPHS[1], "No_findings"),
        (RADIOGRAPHS[3], "No_findings"),
        (RADIOGRAPHS[2], "Pneumonia"),
    ):
        paint(folder / nih_cxr14.SUBSET / name / radiograph, 256)
    table = folder / "torchxrayvision" / "data" / "Data_Entry_2017_v2020.csv.gz"
    table.parent.mkdir(parents=True)
    table.write_bytes(gzip.compress((HEADER + "\n".join(ROWS)).encode()))
    return folder
