"""Vertebral units of T1 spine MRI, drawn from a known anatomy.

A unit is one disc with half a vertebral body above and below it, in nine sagittal slices from the right of the patient
to the left. The middle slices show the canal, and the outer slices show pedicles and neural foramina. Anterior is on
the left of an image, posterior on the right. The frame follows the size of the body, but for an error, the field of
view. Lengths are in widths of a frame without it, which is half as high as it is wide, and brightness is in parts of
the full range.

Regions have no sharp border: a unit is a mixture of its region and the next, by its place along the spine and by the
patient's own shift of the borders. What varies, and after which figures:

* borders of the regions: transitional vertebrae, of 4 to 30 % of spines (Konin and Walz 2010, AJNR 31:1778);
* lordosis: 36.8 ± 13.2° over T12 to S1, lying (PMC6680033, 627 volunteers), which is 2.2° a unit between patients, in
  the disc's wedge and in the bend of the bodies;
* degenerated discs: 37 % of people of 20 years and 96 % of those of 80 (Brinjikji et al. 2015, AJNR 36:811);
* osteophytes: in 84 % of men and 74 % of women above 50 (O'Neill et al. 1999, J Rheumatol 26:842), up to 7 % of the
  frame, 5 mm of a body that is 34 mm deep;
* height and wedge of the body: a coefficient of variation of 7 %, and in one unit of a hundred a loss in front of 20 %
  or more, a fracture of the first grade (Genant et al. 1993, J Bone Miner Res 8:1137); 5.4 % of people above 40 have
  a fracture (PMC7422504);
* the field of view, for which no figure was found: 7 % between patients and 3 % between units.
"""

from collections.abc import Sequence

import numpy as np

from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import vertebra_anatomy as spine
from lib.cohorts.phantoms import vertebra_rendering as sagittal
from lib.cohorts.splits import split_codes

SCANNERS = ("trial_a", "trial_b")
LABELS = ("cervical", "thoracic", "lumbar")
LEVELS = (
    ("C2/3", "C3/4", "C4/5", "C5/6", "C6/7", "C7/T1"),
    (*(f"T{i}/{i + 1}" for i in range(1, 12)), "T12/L1"),
    (*(f"L{i}/{i + 1}" for i in range(1, 5)), "L5/S1"),
)
SPLITS = (70, 24, 24)
SIZES = (16, 256)

# For each quantity: its median in the cervical, thoracic and lumbar spine, its SD between patients, and its SD between
# the units of a patient. Quantities of the first table vary by factors, exp(SD z), and those of the second by sums, SD
# z.
_FACTORS = {
    "depth": (0.37, 0.40, 0.42, 0.05, 0.02),  # of the body, front to back
    "half": (0.215, 0.215, 0.275, 0.06, 0.02),  # half the body's width, right to left
    "spacing": (0.085, 0.062, 0.050, 0.05, 0.0),  # of the slices
    "waist": (0.012, 0.018, 0.022, 0.3, 0.15),  # by which the walls of the body are hollow
    "disc": (0.105, 0.070, 0.120, 0.10, 0.08),  # height
    "concave": (0.28, 0.22, 0.34, 0.25, 0.15),  # part of the height lost from centre to rim
    "canal": (0.30, 0.19, 0.185, 0.07, 0.03),
    "reach": (0.27, 0.125, 0.135, 0.07, 0.03),  # half the canal's width
    "cord": (0.165, 0.09, 0.12, 0.07, 0.03),
    "fringe": (0.014, 0.020, 0.040, 0.35, 0.12),  # fat in front of the body
    "epidural": (0.008, 0.016, 0.045, 0.3, 0.15),  # fat behind the cord
    "vessel": (0.035, 0.075, 0.065, 0.15, 0.05),  # radius
    "strands": (0.05, 0.05, 0.06, 0.25, 0.1),
    "marrow": (0.36, 0.37, 0.39, 0.12, 0.03),
    "mottle": (0.017, 0.015, 0.018, 0.3, 0.1),
    "fat": (0.55, 0.53, 0.54, 0.06, 0.02),
    "muscle": (0.25, 0.24, 0.24, 0.10, 0.03),
    "fibre": (0.28, 0.27, 0.28, 0.08, 0.04),  # of the disc
    "fluid": (0.15, 0.14, 0.15, 0.12, 0.04),
    "neural": (0.29, 0.28, 0.23, 0.08, 0.03),
    "plate": (0.013, 0.010, 0.012, 0.15, 0.08),  # thickness of an endplate
    "middle": (0.25, 0.25, 0.25, 0.07, 0.03),  # of the bodies' height, from the disc
    "view": (1.0, 1.0, 1.0, 0.07, 0.03),  # how much wider the frame is
    "gain": (1.0, 1.0, 1.0, 0.08, 0.01),
}
_SUMS = {
    "centre": (0.46, 0.50, 0.51, 0.020, 0.012),
    "height": (0.0, 0.0, 0.0, 0.012, 0.010),
    "tilt": (0.10, 0.00, 0.04, 0.06, 0.04),
    "wedge": (0.06, -0.02, 0.09, 0.015, 0.035),  # the disc's height gained per length towards the front
    "lean": (-0.10, 0.04, -0.02, 0.06, 0.03),
    "bow": (0.10, -0.08, 0.10, 0.04, 0.10),
    "offset": (0.0, 0.0, 0.0, 0.35, 0.15),  # of the midline, in slices
    "shift": (0.0, 0.0, 0.0, 0.25, 0.05),  # chemical shift: one endplate thickens, the other thins
    "coil": (0.12, 0.15, 0.18, 0.10, 0.03),  # brightness gained towards the coil, behind the patient
    "beside": (0.0, 0.16, 0.13, 0.02, 0.01),  # from the midline to the great vessel
}
BORDERS = (5.5, 17.5)  # between the regions, in levels from C2/3
SHARPNESS = 0.6  # levels over which one region passes into the next
SHIFT = (0.7, 0.4)  # SD of the borders between patients, and between the units of a patient, in levels

# For each scanner: gain, offset, noise, blur.
_SCAN = {"trial_a": (1.0, 0.0, 0.018, 0.012), "trial_b": (1.15, 0.06, 0.030, 0.016)}


def draw(
    *,
    patients: int,
    image_size: int | tuple[int, int] = 64,  # pixels, H = W or (H, W), 16 to 256 each
    rng: np.random.Generator,
    scanner: str = "trial_a",
    test_scanner: str | None = None,  # of the patients of the test split, if it is another one
    units: Sequence[int] = (2, 5, 2),  # cervical, thoracic and lumbar, of each patient
    splits: Sequence[float] = SPLITS,  # proportions of train, validation and test
) -> Cohort:
    """Draw the vertebral units of `patients` patients.

    `images` are uint8 (N, 9, H, W). `region` and `labels` are 0 cervical, 1 thoracic, 2 lumbar; `site` is 0 trial_a, 1
    trial_b; `split` is disjoint by patient, in the proportions `splits` of train, validation and test; `source_name`
    names patient and level. image_size: H = W, or (H, W); the native size is (112, 224), and a square size squeezes the
    width. units: the numbers of cervical, thoracic and lumbar units of each patient, at levels of his own.
    test_scanner: the scanner of the patients of the test split, if it is another one. The same state of `rng` gives the
    same patients at every size and on every scanner: a smaller image is a larger one box-averaged, and trial_b is
    trial_a with gain ×1.15, offset +0.06, more noise and more blur.

    Raises ValueError for no patient, fewer patients than splits, a size outside 16 to 256, an unknown scanner, and
    units that a spine does not have.
    """
    size = tuple(np.broadcast_to(image_size, 2).tolist()) if np.size(image_size) in (1, 2) else ()
    if not size or not all(isinstance(n, int) and SIZES[0] <= n <= SIZES[1] for n in size):
        raise ValueError(f"image_size is {image_size}; give height and width from {SIZES[0]} to {SIZES[1]}")
    for name in (scanner, test_scanner or scanner):
        if name not in SCANNERS:
            raise ValueError(f"unknown scanner {name!r}: choose one of {', '.join(SCANNERS)}")
    most = tuple(len(levels) for levels in LEVELS)
    whole = len(units) == 3 and all(n in range(m + 1) for n, m in zip(units, most, strict=True))
    if not whole or not sum(units):
        raise ValueError(f"units is {tuple(units)}; give three counts, at most {most}, not all zero")
    if not isinstance(patients, (int, np.integer)):
        raise ValueError(f"patients is {patients!r}; give a whole number")
    split = split_codes(patients, splits, rng)
    site = np.where(split == 2, SCANNERS.index(test_scanner or scanner), SCANNERS.index(scanner))
    truth, level = _anatomy(patients, units, rng)
    owner, region = truth["owner"], truth["region"]
    scan = np.array([_SCAN[name] for name in SCANNERS])[site[owner]].T
    truth |= dict(zip(("site_gain", "site_offset", "noise", "blur"), scan, strict=True))
    return Cohort(
        sagittal.render(truth, size),
        owner,
        region,
        split[owner],
        region=region,
        site=site[owner],
        source_name=[f"patient{p}_{LEVELS[r][i]}" for p, r, i in zip(owner, region, level, strict=True)],
        name="phantom_vertebra",
        modality="MR",
        label_names=LABELS,
        licence="CC0-1.0 (drawn, no patient)",
        source="drawn by lib.cohorts.phantoms.vertebra",
    )


def _anatomy(patients: int, units: Sequence[int], rng: np.random.Generator):
    """Everything random except the fields, one row for each unit, and the level of each unit within its region."""
    normal, uniform = rng.standard_normal, rng.uniform
    region = np.tile(np.repeat(np.arange(3), units), patients)
    chosen = [
        np.sort(uniform(size=(patients, len(of))).argsort(axis=1)[:, :k], axis=1)
        for of, k in zip(LEVELS, units, strict=True)
    ]
    level = np.concatenate(chosen, axis=1).ravel()
    owner = np.repeat(np.arange(patients), sum(units))
    n = len(owner)
    truth: dict[str, np.ndarray] = {"owner": owner, "region": region, "key": rng.integers(0, 2**63, n)}
    # Shares of the three regions in a unit's anatomy: from C2/3 downwards one passes into the next.
    place = level + np.array([0, len(LEVELS[0]), len(LEVELS[0]) + len(LEVELS[1])])[region]
    place = place + SHIFT[0] * normal(patients)[owner] + SHIFT[1] * normal(n)
    below = 1 / (1 + np.exp(-(place[:, None] - BORDERS) / SHARPNESS))  # of either border
    share = np.stack([1 - below[:, 0], below[:, 0] - below[:, 1], below[:, 1]], axis=1)
    truth |= dict(zip(("neck", "chest", "loin"), share.T, strict=True))
    for name, (*median, between, within) in (_FACTORS | _SUMS).items():
        z = between * normal(patients)[owner] + within * normal(n)
        truth[name] = share @ median * np.exp(z) if name in _FACTORS else share @ median + z
    truth["view"] = truth["view"].clip(spine.NARROWEST, spine.WIDEST)
    # The lumbar lordosis, the discs and the thoracic bodies grow downwards.
    down = level / (np.array([len(levels) for levels in LEVELS])[region] - 1) - 0.5
    truth["wedge"] += 0.10 * truth["loin"] * down
    # Lordosis is a tendency of the patient: of the discs' wedges, and of the bend of the bodies.
    lordosis = normal(patients)[owner] * (0.6 * truth["neck"] + 0.4 * truth["chest"] + truth["loin"])
    truth["wedge"] += 0.012 * lordosis
    truth["bow"] += 0.02 * lordosis
    # A body that gave way in front, above or below: its endplate tilts.
    broken = (uniform(size=n) < 0.01) * uniform(0.05, 0.10, n)
    truth["wedge"] += 2 * broken
    truth["tilt"] += np.where(uniform(size=n) < 0.5, 1, -1) * broken
    truth["disc"] *= 1 + 0.15 * down
    # Degeneration is a tendency of the patient with a deviation of each disc.
    worn = 1 / (1 + np.exp(0.8 - 1.4 * normal(patients)[owner] - 1.0 * normal(n)))
    truth["disc"] *= 1 - 0.55 * worn
    truth["fibre"] *= 1 - 0.30 * worn
    truth["bulge"] = 0.008 + 0.025 * worn * uniform(0.3, 1, n)
    truth["spur"] = (0.006 + 0.065 * worn * uniform(0, 1, n))[:, None] * uniform(0.3, 1, (n, 2))
    inflamed = np.where(uniform(size=patients) < 0.35, uniform(0.3, 1, patients), 0)[owner]
    # Corners: upper front, upper back, lower front, lower back. Fat is bright, and oedema is dark.
    lesion = (uniform(size=(n, 4)) < 0.15 + 0.5 * inflamed[:, None]) * uniform(0.05, 0.22, (n, 4))
    truth["corner"] = lesion * np.where(uniform(size=(n, 4)) < 0.8, 1, -0.6) * (0.3 + inflamed[:, None])
    truth["band"] = np.where(uniform(size=(n, 2)) < 0.5 * worn[:, None], uniform(-0.08, 0.12, (n, 2)), 0)
    # Bones of the arch, right and left: shift in x and y, and stretch in x and y. Spinous processes have no side.
    arch = 0.8 * normal((patients, 2, spine.ARCHES, 4))[owner] + 0.6 * normal((n, 2, spine.ARCHES, 4))
    arch[:, 1, : spine.SPINOUS] = arch[:, 0, : spine.SPINOUS]
    truth["arch"] = np.concatenate([0.010 * arch[..., :2], np.exp(0.10 * arch[..., 2:])], -1)
    # Schmorl's nodes: depth, place (x, z), width; above and below.
    node = uniform(size=(n, 2)) < 0.03 + 0.12 * worn[:, None]
    truth["node"] = node * uniform(0.015, 0.05, (n, 2))
    truth["node_x"], truth["node_z"] = 0.06 * normal((n, 2)) + 0.02, 0.06 * normal((n, 2))
    truth["node_wide"] = uniform(0.025, 0.06, (n, 2))
    return truth, level
