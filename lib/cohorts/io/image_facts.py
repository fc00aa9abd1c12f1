"""What the header of an image file says, before its pixels are decoded."""

from typing import NamedTuple

import numpy as np

MEND = "repair the file or take it out"
TO_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601


class NoImageError(Exception):
    """The file is in order and holds no image of a patient; its text says what it holds."""


class Facts(NamedTuple):
    """What a header says."""

    shapes: dict[tuple[int, int], int]  # (H, W) of the images in the file as they are shown, and how many of each
    bits: int  # of a number, as stored
    patient: str = ""  # PatientID; "" if absent
    study: str = ""  # StudyInstanceUID
    is_colour: bool = False  # of any image, and so made grey

    @property
    def images(self) -> int:
        """How many images the file holds."""
        return sum(self.shapes.values())


class Shown(NamedTuple):
    """One image of a file as a reader sees it: bright is bright, upright, without padding."""

    pixels: np.ndarray  # (H, W) float32
    is_8_bit: bool  # 0 to 255; otherwise of any range
    rules: frozenset[str] = frozenset()  # what was done, each completing "3 files …"
