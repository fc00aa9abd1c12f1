"""The pictures of an audit: images of the sets, ratios and power, and pairs laid upon each other."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from lib import plots
from lib.audit.assessment import Assessment
from lib.audit.copies import GIVEN, ranked
from lib.audit.inputs import AuditSets
from lib.audit.normalisation import without_margins
from lib.audit.symmetries import placed
from lib.statistics.proportions import proportion

_TITLES = {"train": "training", "heldout": "held-out"}  # of sets, where their names are no words


def samples_figure(sets: AuditSets) -> Figure:
    """Ten images of each set, evenly spread, never picked by eye."""
    figure, axes = plots.canvas(width="page", height=68, mosaic=[[name] for name in sets.parts])
    for name, ax in axes.items():
        spread = np.linspace(0, len(sets.parts[name]) - 1, 10).astype(int)
        plots.image_grid(ax, sets.parts[name].images[spread], columns=10).set_title(_TITLES.get(name, name))
    return figure


def copies_figure(assessment: Assessment, *, level: float) -> Figure:
    """How close each match is, where the closest ones point, and the power against the injected share."""
    found, power = assessment.found, assessment.power
    base, test = found.sets[GIVEN]
    figure, axes = plots.canvas(width="page", height=62, mosaic=[["ratio", "share", "power"]])
    ratios = {"as given": base.ratio, "null: real images": found.null.ratio, "disguised copies": assessment.mixed.ratio}
    plots.distributions(axes["ratio"], ratios)
    axes["ratio"].set(title="how close is each match?", xlabel="distance ratio\n(0: a copy; dotted: medians)")
    axes["ratio"].legend(loc="upper center", frameon=True, framealpha=1, edgecolor="none")
    if found.test["is_heldout"]:
        axes["share"].fill_between(test.k, test.low, test.high, color="0.85", label="chance, 95 %")
        axes["share"].plot(test.k, test.share, "o-", color=plots.COLOURS[0], label=GIVEN)
        axes["share"].set(xscale="log", ylim=(0, 1.05), title="training among the k nearest", xlabel="k")
        axes["share"].legend(loc="lower right")
    else:
        axes["share"].set_axis_off()
        axes["share"].text(0.5, 0.5, "no held-out images", ha="center", va="center", transform=axes["share"].transAxes)
    shares = [100 * trial.copies / trial.images for trial in power]
    seen = np.array([proportion(trial.flagged, trial.repeats) for trial in power])
    axes["power"].errorbar(shares, seen[:, 0], np.abs(seen[:, 1:] - seen[:, :1]).T, fmt="o-", capsize=1.5)
    axes["power"].axhline(level, color="0.4", linestyle="--", linewidth=0.8, label=f"level, {level:g}")
    axes["power"].legend(loc="center right")
    axes["power"].set(xscale="log", ylim=(0, 1.02), title="would it be seen?")
    axes["power"].set(xlabel="copies injected (%),\nin declared disguises", ylabel="share flagged")
    return figure


def pairs_figure(assessment: Assessment, sets: AuditSets, *, most: int = 20, columns: int = 4) -> Figure:
    """The `most` closest pairs: real image | synthetic as it fits best | difference, without their margins."""
    shown = pair_pictures(assessment, sets, most=most)
    rows = -(-len(shown) // columns)
    mosaic = [[str(row * columns + column) for column in range(columns)] for row in range(rows)]
    figure, axes = plots.canvas(width="page", height=4 + 21 * rows, mosaic=mosaic)
    for ax in axes.values():
        ax.set_axis_off()
    for number, (title, pictures) in enumerate(shown):
        plots.image_grid(axes[str(number)], pictures, columns=3).set_title(title, fontsize=6, fontweight="normal")
    return figure


def pair_pictures(assessment: Assessment, sets: AuditSets, *, most: int) -> list[tuple[str, np.ndarray]]:
    """A title and pictures (3, H, H) of each of the `most` closest pairs: real, synthetic laid upon it, difference."""
    found = assessment.found
    base, test = found.sets[GIVEN]
    real = np.concatenate([part.images[:] for name, part in sets.parts.items() if name != "synthetic"])[found.row]
    shown = []
    for rank, row in enumerate(ranked(found)[:most].tolist(), 1):
        best = int(found.given.similarity[row].argmax())
        target = without_margins(real[base.nearest[row]][None], real.shape[1])[0].astype(np.float32)
        other = without_margins(sets.synthetic.images[row : row + 1], real.shape[1])[0].astype(np.float32)
        other = 255 - other if found.given.is_negative[row, best] else other
        other = laid_upon(target, other, found.given.map[row, best], int(base.mirror[row]))
        of = "training" if found.of_training[base.nearest[row]] else "held-out"
        title = f"{rank}, {of}: ratio {base.ratio[row]:.2f}, p = {test.pair_pvalues[row]:.1g}"
        shown.append((title, np.stack([target, other, 127 + (target - other) / 2])))
    return shown


def laid_upon(target: np.ndarray, image: np.ndarray, map: np.ndarray, symmetry: int) -> np.ndarray:
    """`image` (H, H) as it was registered with `target` (H, H): placed, moved, its brightness fitted; NaN outside."""
    grid = F.affine_grid(torch.from_numpy(map)[None].float(), [1, 1, *image.shape], align_corners=False)
    moved = F.grid_sample(torch.from_numpy(image)[None, None], grid, align_corners=False, padding_mode="border")[0, 0]
    moved = torch.where((grid[0].abs() <= 1).all(dim=-1), moved, torch.nan)
    found = placed(moved, symmetry).numpy()
    inside = np.isfinite(found)
    apart = found - found[inside].mean()
    aim = target - target[inside].mean()
    slope = (apart[inside] * aim[inside]).sum() / max((apart[inside] ** 2).sum(), 1e-6)
    return target[inside].mean() + slope * apart
