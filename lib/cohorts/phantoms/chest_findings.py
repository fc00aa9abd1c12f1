"""The radiographic sign of each finding: what it adds to the attenuation of a frontal chest radiograph.

Each function takes `t`, the known quantities of the radiographs, each (..., n, 1, 1), and `g`, their outlines and
fields, each broadcastable to (n, H, W), and returns (n, H, W). `lib.cohorts.phantoms.chest_rendering` makes both, and
draws what a finding does to outlines (a wide heart, a flat dome, lost volume). Severities run from 0 to 1, on the right
and on the left.
"""

import numpy as np


def ramp(distance, width):
    """An edge that rises from 0 to 1 as `distance` goes from -width / 2 to width / 2."""
    distance = distance / width
    distance += 0.5
    return np.clip(distance, 0, 1, out=distance)


def bell(distance, width):
    """A ridge that is 1 at distance 0 and 1/e at `width`."""
    return np.exp(-np.minimum((distance / width) ** 2, 30))  # arithmetic is slow below e^-30


def _side(pair, g):
    return np.where(g["u"] > 0, pair[1], pair[0])


def _distance(g, u, v):
    """The distance of each pixel from a point (u, v), in half-widths of the thorax."""
    return np.sqrt((g["u"] - u) ** 2 + ((g["v"] - v) * g["tall"]) ** 2)


def _lesion_side(pair):
    return np.where(pair[1] > pair[0], 1, -1)


def atelectasis(t, g):
    """Nearly horizontal plates above a raised dome, and a haze behind the heart."""
    s, a, v = _side(t["Atelectasis"], g), abs(g["u"]), g["v"]
    first, gap, *slopes = t["plate"]
    total = 1.2 * bell(a - 0.28, 0.25) * bell(v - g["dome"] + 0.02, 0.13) * (1 + 0.3 * g["cloud"])
    for i, slope in enumerate(slopes):
        away = v - g["angle"] + 0.10 * s + 0.12 + first + i * gap - slope * (a - 0.5) - 0.1 * (a - 0.5) ** 2
        band = bell(away, 0.016 + 0.016 * s + g["edge_v"]) * ramp(a - 0.24, 0.1) * ramp(0.82 - 0.1 * i - a, 0.1)
        total = total + (1.5 - 0.4 * i) * band
    return total * np.sqrt(s) * g["cover"]


def effusion(t, g):
    """Fluid that hides the dome and the costophrenic angle and rises along the wall as a meniscus."""
    s = _side(t["Effusion"], g)
    surface = g["angle"] - 0.06 - 0.60 * s + 0.17 * (1 - np.exp(-np.clip(g["gap"], 0, None) / 0.22))
    wet = ramp(g["v"] - surface, 0.035 + g["edge_v"]) * (s > 0)
    return wet * (t["air"] * g["lung"] + 0.6 * g["cover"] * (1 - g["solid"]) - 0.7 * g["ribs"])


def infiltration(t, g):
    """Faint patches all over both lungs."""
    patch = np.clip(g["cloud"] + 0.3, 0, 2) + 0.25 * g["mesh"]
    return 0.85 * _side(t["Infiltration"], g) * patch * g["lung"] * ramp(g["v"] - 0.12, 0.3)


def mass(t, g):
    """A round opacity of more than 3 cm with a lobed margin."""
    s, (u, v) = t["Mass"].max(0), t["mass_at"][0]
    rho = _distance(g, u * _lesion_side(t["Mass"]), v) / (0.13 + 0.13 * s) + 0.09 * g["cloud"] + 0.03 * g["mesh"]
    return 1.6 * ramp(1 - rho, 0.22 + g["edge_u"] / 0.15) * (1 - 0.25 * rho.clip(0, 1) ** 2) * g["cover"]


def nodule(t, g):
    """One to three round opacities of less than 3 cm."""
    s, total = t["Nodule"].max(0), 0
    for i, ((u, v), size) in enumerate(zip(t["nodule_at"], t["nodule_size"], strict=True)):
        side = _lesion_side(t["Nodule"]) * (-1 if i == 1 else 1)
        radius = (0.055 + 0.045 * s) * np.minimum(size, 1.2) + 1e-6
        total = total + (size > 0) * ramp(1 - _distance(g, u * side, v) / radius, 0.35 + g["edge_u"] / radius)
    return 1.45 * np.minimum(total, 1) * g["cover"]


def pneumonia(t, g):
    """Confluent patches with fuzzy margins in one region of a lung."""
    s, (u, v) = _side(t["Pneumonia"], g), t["patch_at"][0]
    window = bell(abs(g["u"]) - u, 0.30) * bell(g["v"] - 0.25 - 0.65 * v, 0.20)
    patch = np.clip(0.75 + 0.75 * g["cloud"] + 0.2 * g["mesh"], 0, 2)
    return (s > 0) * (0.8 + 1.1 * s) * window * patch * g["lung"]


def pneumothorax(t, g):
    """A dark rim without vessels, wider at the apex, with the pleural line along its inner border."""
    s = _side(t["Pneumothorax"], g)
    line = g["gap"] - (0.10 + 0.50 * s) * np.clip(1.15 - 0.75 * g["v"], 0.2, 1.2)
    rim = ramp(-line, 0.02 + g["edge_u"]) * (s > 0)
    edge = 0.55 * bell(line, 0.016 + g["edge_u"]) * (s > 0)
    marking = t["parenchyma"] * g["mesh"]
    return (edge + 0.5 * s * (1 - rim) - (1.15 + marking) * rim) * g["lung"] - rim * g["tree"]


def consolidation(t, g):
    """A dense lobe that ends at its fissure, with dark bronchi in it."""
    s, a = _side(t["Consolidation"], g), abs(g["u"])
    beyond = (g["v"] - 0.50 - 0.10 * (a - 0.5)) * (2 * t["lobe"] - 1)  # from the fissure into the lobe
    lobe = ramp(beyond, 0.02 + g["edge_v"]) * ramp(0.20 + 0.22 * s - beyond, 0.22)
    lobe = lobe * np.clip(1.05 + 0.22 * g["cloud"], 0, 1.2) * (s > 0)
    return lobe * ((1.2 + 0.6 * s) * g["lung"] - 1.7 * np.minimum(g["tree"], 0.7))


def edema(t, g):
    """A haze around both hila in the shape of wings, with wide vessels and septal lines."""
    s, a = _side(t["Edema"], g), abs(g["u"])
    wing = bell(a - 0.33, 0.38) * bell(g["v"] - 0.53, 0.30) * np.clip(1 + 0.25 * g["cloud"], 0, 2)
    septa = 0.22 * bell(g["gap"] - 0.08, 0.09) * np.clip(np.sin(130 * g["v"]), 0, 1) * bell(g["v"] - 0.85, 0.15)
    return s * ((1.6 * wing + septa) * g["lung"] + 0.15 * g["tree"])


def emphysema(t, g):
    """Dark lungs with few vessels."""
    s = t["Emphysema"].max(0)
    return -0.65 * s * (0.6 + 0.4 * np.clip(1 + 0.5 * g["cloud"], 0, 2)) * g["lung"] - 0.5 * s * g["tree"]


def fibrosis(t, g):
    """A net of fine lines at the bases and along the walls."""
    s = _side(t["Fibrosis"], g)
    where = ramp(g["v"] - 0.62, 0.35) + 0.6 * ramp(0.16 - g["gap"], 0.16) * ramp(g["v"] - 0.25, 0.3)
    net = np.clip(1 - abs(g["mesh"]) / 0.65, 0, 1)
    return (1.6 * net + 0.3) * s * np.minimum(where, 1) * g["lung"]


def pleural_thickening(t, g):
    """A bright rim with an uneven inner border, along the wall and over the apex."""
    s = _side(t["Pleural_Thickening"], g)
    thick = (0.05 + 0.09 * s) * np.clip(1 + 0.35 * g["cloud"], 0.3, 2) * (1 + 0.8 * ramp(0.15 - g["v"], 0.2))
    return 1.7 * (s > 0) * ramp(thick - g["gap"], 0.02 + g["edge_u"]) * g["cover"]


def hernia(t, g):
    """The stomach behind the heart: a round shadow that holds gas above fluid."""
    s = t["Hernia"].max(0)
    u, v, size = t["pouch"]
    radius = (0.22 + 0.14 * s) * size
    rho, level = _distance(g, u, v) / radius + 0.02 * g["cloud"], g["v"] - v - 0.02
    inside, gas = ramp(1 - rho, 0.12 + g["edge_u"] / radius), ramp(0.84 - rho, 0.16 + g["edge_u"] / radius)
    gas = gas * ramp(-level, 0.02 + g["edge_v"])
    return 0.8 * inside * (1 - 0.3 * g["solid"]) - (1.3 + 0.5 * s) * gas


SIGNS = {
    "Atelectasis": atelectasis, "Effusion": effusion, "Infiltration": infiltration, "Mass": mass, "Nodule": nodule,
    "Pneumonia": pneumonia, "Pneumothorax": pneumothorax, "Consolidation": consolidation, "Edema": edema,
    "Emphysema": emphysema, "Fibrosis": fibrosis, "Pleural_Thickening": pleural_thickening, "Hernia": hernia,
}  # fmt: skip
