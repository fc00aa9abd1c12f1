"""The places of structures in a sagittal slice of the spine, which `lib.cohorts.phantoms.vertebra_rendering` draws.

`t` holds the known quantities of each unit as float32 arrays that broadcast over (units, slices, pixels of a row or
column). x runs from front to back, from 0 to 1; y runs downwards, from -0.25 to 0.25; z runs from the right of the
patient to the left and is 0 at the midline. All are in widths of a frame with a field of view of 1; another one holds
more or less about the same centre.
"""

import numpy as np

DARK = 0.05  # the brightness of cortical bone, ligaments and flowing blood
MARGIN = 0.09  # the largest bend of a row, in widths of the frame as it is
NARROWEST, WIDEST = 0.8, 1.25  # fields of view
BEHIND = 0.4  # the first place of the bones of the arch
ARCHES, SPINOUS = 16, 4  # bells that make up the bones of an arch, of which the spinous processes come first


def bell(at, middle, wide):
    """exp(-((at - middle) / wide)²), at least exp(-20), for products of denormal numbers are a hundred times slower."""
    return np.exp(np.maximum(((at - middle) / wide) ** 2 * -1, -20))


def place(t):
    """Add to `t` the places of structures in each slice (n, slices, 1) and the bends of rows (n, 1, H)."""
    across = np.minimum(t["side"] / t["half"], 1.1)
    t["share"] = np.clip((t["half"] - t["side"]) / t["spacing"] + 0.4, 0, 1)  # of the body in the slice
    t["open"] = np.clip((t["reach"] - t["side"]) / t["spacing"] + 0.5, 0, 1)  # of the canal
    t["closed"] = 1 - t["open"]
    t["wall"] = t["centre"] + t["depth"] / 2
    t["front"] = t["wall"] - t["depth"] * (1 - 0.5 * across**2.6)
    t["back"] = t["wall"] - 0.18 * t["depth"] * across**4
    t["rear"] = t["wall"] + t["canal"] + t["epidural"]
    t["deep"] = 0.105 + 0.015 * t["neck"]  # the foramen, front to back
    t["bend"] = np.clip(t["lean"] * t["y"] + t["bow"] * t["y"] ** 2, -MARGIN * t["view"], MARGIN * t["view"])


def walls(t):
    """The front and back walls of the body in each row (n, slices, H): hollow, with spurs and the bulge of the disc."""
    v = t["v"]
    hollow = t["waist"] * (1 - bell(v, 0, 0.13))
    belly = t["bulge"] * np.exp(-((v / (0.45 * t["disc"])) ** 4))
    rim = 0.5 * t["disc"] * (1 - t["concave"]) + 0.012
    spur = t["spur"] * bell(abs(v), rim, 0.014)
    front = t["front"] + hollow - 0.5 * belly - spur[0]
    return front + t["bend"], t["back"] - 0.6 * hollow + belly + 0.5 * spur[1] + t["bend"]


def tissues(t):
    """The brightness along u, and the roughness of the strands, each (n, slices, len(u))."""
    u, sharp, fat, muscle, front = t["u"], t["sharp_x"], t["fat"], t["muscle"], t["front"] - 0.016
    wall, canal, rear, open_, closed = (t[k] for k in ("wall", "canal", "rear", "open", "closed"))
    base = muscle + np.zeros_like(t["z"]) * u
    rough = np.full_like(base, 0.7)

    def paint(low, high, share, value, roughness):
        cover = np.clip((u - low) * sharp + 0.5, 0, 1)
        if high is not None:
            cover = cover - np.clip((u - high) * sharp + 0.5, 0, 1)
        cover = cover * share
        for painted, with_ in ((base, value), (rough, roughness)):
            painted += cover * (with_ - painted)

    def tube(middle, z, radius, share):  # it runs downwards, and a slice cuts a chord of it
        chord = np.sqrt(np.clip(radius**2 - (t["z"] - z) ** 2, 1e-8, None))
        paint(middle - chord, middle + chord, share, DARK + 0.02, 0.15)

    # In front: fat, then great vessels, lung or airway; in the neck also the vertebral arteries beside the body.
    paint(-1, front - 0.035 - t["fringe"], t["loin"], 0.5 * (muscle + fat), 1.3)
    lung = t["chest"] * np.clip((t["side"] - 0.8 * t["half"]) / t["spacing"], 0, 1)
    paint(-1, front - 0.02 - 0.5 * t["fringe"], lung, 0.04, 0.1)
    airway = t["neck"] * np.clip((0.16 - t["side"]) / t["spacing"] + 0.5, 0, 1)
    paint(front - 0.3, front - 0.13, airway, 0.03, 0.1)
    paint(front - t["fringe"], front, 0.3 + 0.7 * t["share"], fat, 0.8)
    middle = t["front"] - 0.03 - t["fringe"] - t["vessel"]
    tube(middle, t["beside"], t["vessel"], 1 - t["neck"])
    tube(middle, -t["beside"], t["vessel"] * (0.85 - 0.55 * t["chest"]), 1 - t["neck"])
    # Behind: fat of the foramina, muscle, the canal with its cord, fat, and the yellow ligament.
    paint(wall - 0.1 * t["neck"], None, closed, 0.9 * fat, 0.8)
    for z in (0.31, -0.31):
        tube(wall - 0.05, z, 0.035, t["neck"])
    paint(wall + 0.22, None, 1, 0.5 * (muscle + fat), 1.8 * closed + 0.5)
    paint(wall, rear, open_, t["fluid"], 0.12)
    cord = wall + (0.5 + 0.12 * t["loin"] + 0.06 * t["chest"]) * canal
    reach = 0.62 * t["reach"]
    half = t["cord"] / 2 * np.sqrt(np.clip(1 - (t["side"] / reach) ** 2, 0.02, None))
    paint(cord - half, cord + half, np.clip((reach - t["side"]) / t["spacing"] + 0.5, 0, 1), t["neural"], 0.12)
    paint(rear - t["epidural"], rear, open_, 0.75 * fat, 0.4)
    paint(rear, rear + 0.014, open_, DARK, 0.1)
    paint(rear + 0.014, None, open_, 0.55 * (fat + muscle), 0.9)
    rough *= t["strands"]
    return base, rough


def spots(t):
    """Soft spots: their x, y and half-widths, and their change of brightness."""
    wall, deep, open_, closed, fat = (t[k] for k in ("wall", "deep", "open", "closed", "fat"))
    root = 0.065 * t["neck"] - 0.085
    vein = 0.6 * open_ * (fat - t["fluid"])
    vessel = 0.8 * closed * (DARK - fat)
    return (
        (t["rear"], 0.01, 0.025, 0.06, 0.3 * open_ * t["loin"]),  # fat between the laminae
        (wall - 0.002, -0.25, 0.018, 0.06, vein),  # behind the bodies
        (wall - 0.002, 0.25, 0.018, 0.06, vein),
        (wall + 0.45 * deep, root, 0.028, 0.026, 1.1 * closed * (t["muscle"] - fat)),  # nerve root
        (wall + 0.30 * deep, root + 0.055, 0.014, 0.013, vessel),
        (wall + 0.75 * deep, root + 0.050, 0.012, 0.016, vessel),
    )


def arches(t):
    """Bells that add up to bones: x, y, half-widths, and amount, + for the lower vertebra and - for the upper one."""
    wall, rear, joint = t["wall"], t["rear"], t["wall"] + t["deep"]
    beside = (t["open"] < 0.5).astype(np.float32)
    midline, neck = 1 - beside, beside * t["neck"]
    rib = beside * t["chest"] * np.clip((t["side"] - t["reach"]) / t["spacing"], 0, 1)
    low = t["disc"] / 2 + 0.085
    return (
        (rear + 0.08, 0.16, 0.06, 0.075, midline),  # spinous process
        (rear + 0.17, 0.18, 0.08, 0.075, midline),
        (rear + 0.08, -0.15, 0.06, 0.075, -midline),
        (rear + 0.17, -0.13, 0.08, 0.075, -midline),
        (wall, low, 0.07, 0.06, 1.2 * beside),  # pedicle
        (joint - 0.03, low, 0.06, 0.06, 1.2 * beside),
        (wall - 0.04, -0.28, 0.09, 0.05, -1.2 * beside),
        (joint + 0.03, -0.25, 0.06, 0.05, -1.2 * beside),
        (joint + 0.06, low - 0.02, 0.06, 0.075, 1.2 * beside),  # superior articular process
        (joint + 0.055, low - 0.13, 0.04, 0.06, 1.2 * beside),
        (joint + 0.15, low + 0.10, 0.07, 0.10, 1.2 * beside),
        (joint + 0.145, -0.03, 0.045, 0.08, -1.3 * beside),  # inferior articular process
        (joint + 0.11, -0.17, 0.06, 0.08, -1.3 * beside),
        (wall + 0.01, 0.01, 0.055, 0.055, -1.3 * rib),  # head of a rib
        (wall - 0.07, -0.2, 0.05, 0.06, -neck),  # transverse processes
        (wall - 0.07, 0.2, 0.05, 0.06, neck),
    )
