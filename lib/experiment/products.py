"""How what a run makes is written: tables, arrays and cohorts for later notebooks, and pictures."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.cohorts.cohort import Cohort
from lib.core.files import atomic


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with atomic(path) as partial:
        frame.to_csv(partial, index=any(name is not None for name in frame.index.names))


def _write_npz(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    with (
        atomic(path) as partial,
        zipfile.ZipFile(partial, "w") as archive,
    ):  # as np.savez, which keeps "file" for itself
        for name, values in arrays.items():
            array = np.asanyarray(values)
            if array.dtype.hasobject:
                raise TypeError(f"{path.name}: {name!r} is an array of objects; give one of numbers or of text")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


SAVED: list[tuple[type, str, Callable]] = [  # what `Run.save` takes, the ending of its file, and what writes it
    (pd.DataFrame, ".csv", _write_csv),
    (Cohort, ".h5", Cohort.save),
    (Mapping, ".npz", _write_npz),
]


_STAMP, _TWO_LINES = 4.5, 3.6  # points; two lines of the second fill the strip that `plots.canvas` leaves
_COHORT_SAYS = {"phantom": "phantom, drawn: no patient", "public": "public images", "own": "your own images"}


def stamp(figure: Figure, facts: Mapping[str, str], *, replot: bool = False) -> None:
    """Write at the foot of `figure` what it shows: scale, cohort, source, seed, n, revision and arithmetic of `facts`.

    In letters that are small enough for its width, on two lines where one would be smaller still. replot: it shows
    published numbers and nothing of a run.
    """
    says = f"{facts['scale']} · {_COHORT_SAYS[facts['cohort']]} ({facts['source']}) · seed {facts['seed']}"
    says += f" · n = {facts['n']} · {facts['revision']} · {facts['arithmetic']}"
    if replot:
        says = f"published numbers, plotted again; nothing of this run · n = {facts['n']} · {facts['revision']}"
    elif facts["scale"] == "smoke":
        says = "SMOKE RUN: these numbers mean nothing · " + says
    style: dict[str, Any] = {"color": "0.45", "ha": "left", "va": "bottom", "linespacing": 1.1, "in_layout": False}
    note = figure.text(0.006, 0.004, says, fontsize=_STAMP, **style)

    def fitting() -> float:
        return _STAMP * min(0.985 * figure.bbox.width / note.get_window_extent().width, 1)

    size = fitting()
    if size < _TWO_LINES:
        breaks = [place for place in range(len(says)) if says.startswith(("; ", " · "), place)]
        middle = min(breaks, key=lambda place: abs(place - len(says) / 2)) + 2
        note.set_text(f"{says[:middle].rstrip()}\n{says[middle:].lstrip()}")
        size = min(fitting(), _TWO_LINES)
    note.set_fontsize(size)


def save_png(figure: Figure, path: Path, metadata: dict[str, str]) -> None:
    """Save `figure` at 300 dpi, in at most 256 colours if the difference is invisible, which halves the file.

    The difference counts as invisible at a PSNR of at least 40 dB with no pixel off by more than 24 of 255 levels.
    """
    figure.draw_without_rendering()  # beside images, the layout finds room for their titles at its second run
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=300, pil_kwargs={"compress_level": 1})  # it is read back at once
    full = Image.open(drawn).convert("RGB")
    few = full.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(few.convert("RGB"), np.float32) - np.asarray(full, np.float32))
    chosen = few if np.square(error).mean() <= 255**2 / 1e4 and error.max() <= 24 else full
    chunks = PngInfo()
    for key, value in metadata.items():
        chunks.add_text(key, value)
    chosen.save(path, format="PNG", optimize=True, dpi=(300, 300), pnginfo=chunks)
