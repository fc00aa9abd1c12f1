"""Schematic drawings of boxes, arrows and images, placed in millimetres."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from lib.plots.style import REAL


def schematic(ax: Axes, boxes: Mapping[str, tuple], arrows: Sequence[tuple], pictures: Sequence[tuple] = ()) -> Axes:
    """Draw boxes, arrows between them and images on `ax`, whose unit is a millimetre, and return `ax`.

    boxes: name -> (x, y, width, height, text[, colour]), where (x, y) is the centre. arrows: (from, to, text[, bend]),
    where a `bend` other than 0 curves the arrow to one side, and a text that starts with "L" marks a loss, whose arrow
    is dashed. pictures: (x, y, side, image (H, W)), where (x, y) is the centre.
    """
    ax.set_axis_off()
    ax.set_aspect("equal")
    patches = {}
    for name, (x, y, wide, high, text, *own) in boxes.items():
        face = own[0] if own else "0.93"
        patches[name] = FancyBboxPatch(
            (x - wide / 2, y - high / 2), wide, high, "round,pad=0,rounding_size=1.2",
            facecolor=face, edgecolor="0.35", linewidth=0.6,
        )  # fmt: skip
        ax.add_patch(patches[name])
        ax.text(x, y, text, ha="center", va="center", fontsize=6.5, linespacing=1.3)
    for start, end, text, *bend in arrows:
        loss = text.startswith("L")
        colour = REAL if loss else "0.25"
        arrow = FancyArrowPatch(
            boxes[start][:2], boxes[end][:2], patchA=patches[start], patchB=patches[end], arrowstyle="-|>",
            mutation_scale=6, linewidth=0.8, linestyle=(0, (3, 2)) if loss else "-", color=colour,
            shrinkA=0.5, shrinkB=0.5, connectionstyle=f"arc3,rad={bend[0] if bend else 0}",
        )  # fmt: skip
        ax.add_patch(arrow)
        tail, head = np.array(boxes[start][:2]), np.array(boxes[end][:2])
        along = head - tail
        # The middle of matplotlib's arc3, a quadratic curve whose control point lies `bend` to one side.
        middle = tail + along / 2 + (bend[0] if bend else 0) / 2 * np.array([along[1], -along[0]])
        ax.text(
            middle[0], middle[1], text, ha="center", va="center", fontsize=6, color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    for x, y, side, image in pictures:
        box = (x - side / 2, x + side / 2, y - side / 2, y + side / 2)
        ax.imshow(image, extent=box, vmin=0, vmax=255, interpolation="bilinear", zorder=3)
    return ax
