"""Radiographs of a thorax, rendered from the anatomy that `lib.cohorts.phantoms.chest` draws.

Attenuations add along the ray, where a lung is tissue less air, and a logistic curve maps the sum to grey levels. What
depends only on u or only on v is computed as a row or a column; thin structures (vessels, lines, letters) are placed as
points and blurred. u is the distance from the midline in half-widths of the thorax, and v the distance from the apex in
heights of the lung.
"""

import functools

import numpy as np

from lib.cohorts.phantoms.chest_findings import SIGNS, bell, ramp

_RENDERED = (64, 256)  # radiographs are drawn at twice their size, within these limits, and box-averaged
_GRIDS = {"cloud": 11, "mesh": 60, "noise": 128}  # control points of the random fields, in each direction
_WIDTHS = np.array([0.0025, 0.006, 0.014])  # SDs to which points are blurred, in widths of the radiograph
_OUTSIDE = 4.6


def render(truth: dict[str, np.ndarray], size: int, chunk: int | None = None) -> np.ndarray:
    """Radiographs (N, size, size) uint8. `chunk`, how many are drawn at a time, changes the speed and no byte."""
    factor = max(-(-_RENDERED[0] // size), 2 if 2 * size <= _RENDERED[1] else 1)
    fine, n = factor * size, len(truth["key"])
    chunk = chunk or max(1, 2**16 // fine**2)
    radiographs = np.empty((n, size, size), np.uint8)
    known = {k: v if k == "key" else v.astype(np.float32) for k, v in truth.items()}
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        grey = _expose({k: v[part] for k, v in known.items()}, fine)
        grey = grey.reshape(len(grey), size, factor, size, factor).mean((2, 4))
        radiographs[part] = np.clip(grey + 0.5, 0, 255)
    return radiographs


def _expose(t: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Grey levels (n, size, size) of a few radiographs."""
    c = {k: np.moveaxis(v, 0, -1)[..., None, None] for k, v in t.items() if k != "key"}
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    radiograph = (at[:, None] - c["bar"]) / (1 - 2 * c["bar"])  # bars above and below squeeze the radiograph
    g = {"u": (at - c["centre"]) / c["wide"], "v": (radiograph - c["top"]) / c["high"]}
    g |= dict(zip(_GRIDS, _fields(t["key"], size), strict=True))
    g["edge_u"] = np.sqrt(c["blur"] ** 2 + (0.6 / size) ** 2) / c["wide"]
    g["edge_v"] = np.sqrt(c["blur"] ** 2 + (0.6 / size) ** 2) / c["high"]
    g["tall"] = c["high"] / c["wide"]
    level = _normal(c, g, size, t)
    for name, add in SIGNS.items():
        some = t[name].any(axis=1)
        if some.any():
            level[some] += add({k: v[..., some, :, :] for k, v in c.items()}, {k: v[some] for k, v in g.items()})
    level += _hardware(t, size)
    level += c["noise"] * g["noise"]
    veil = _pool(size)
    level += 0.15 * (veil @ level @ veil.T - level)  # scatter
    level = (level + c["exposure"]) * (c["gain"] * c["contrast"]) + c["bright"]
    np.exp(-np.clip(level, -20, 20, out=level), out=level)
    grey = 255 * np.exp(-c["gamma"] * np.log1p(level))
    return grey * np.clip((0.5 - abs(radiograph - 0.5)) * size + 0.5, 0, 1)


def _normal(c, g, size, t):
    """The attenuation (n, H, W) of the thorax without signs; adds its outlines to `g`."""
    u, v, fine_u, fine_v = g["u"], g["v"], g["edge_u"], g["edge_v"]
    a, left = abs(u), ramp(u, 0.30)
    flat = c["Emphysema"].max(0)
    # The lung lies under an arch, above a dome and beside the mediastinum.
    rise = 1 - np.clip(1 - v / 0.95, 0, None) ** (c["apex"] + 0.8 * flat)
    rise = np.where(v < 0, 4 * v, np.sqrt(np.clip(rise, 0, None)))
    g["wall"] = wall = 0.40 + 0.60 * rise
    g["gap"] = gap = wall - a
    raised = 0.10 * c["Atelectasis"] + 0.05 * c["Fibrosis"]  # lost volume
    drop = c["drop"] * (1 - 0.75 * flat)
    crest = 1 + 0.11 * flat + c["lower"] * left
    fall = (a - 0.44) ** 2 / 0.30 * np.where(a > 0.44, 0.4 + 0.6 * a, 0.25)
    g["angle"], g["dome"] = crest + 1.05 * drop, crest - _pick(raised, left) + drop * fall
    g["cover"] = cover = ramp(gap, fine_u) * ramp(g["dome"] - v, fine_v)
    cover *= ramp(a - 0.42 + 0.40 * rise, fine_u)
    # The heart and the great vessels replace air.
    spine = u - c["lean"] * (v - 0.5)
    # Gas and fluid push the mediastinum away, and lost volume pulls it.
    push = c["Pneumothorax"] + 0.6 * c["Effusion"] - 0.6 * c["Atelectasis"]
    middle = spine - 0.10 * (push[0] - push[1])
    big = c["Cardiomegaly"].max(0)
    solid = 1 - ramp(c["mediastinum"] * (0.85 + 0.5 * np.clip(v - 0.15, 0, 0.6)) - abs(middle), 0.06 + fine_u)
    across = middle - c["heart_at"] - 0.10 * big
    down = v - c["heart_low"] - c["heart_tilt"] * 0.25 * across
    broad = c["heart"] * (1 + 0.62 * big) * (1 - 0.18 * flat)
    high = c["heart_high"] * (1 + 0.22 * big) * np.where(down > 0, 1.7, 1)  # it rests on the diaphragm
    solid *= 1 - _ball(across, down, broad, high, fine_u)
    # The aortic arch, the pulmonary trunk and the upper vena cava.
    for x, y, radius, depth in ((0.17, 0.30, c["knob"], 0.85), (0.17, 0.43, 0.11, 0.6), (-0.14, 0.55, 0.15, 0.5)):
        solid *= 1 - depth * _ball(middle - x, v - y, radius, radius / g["tall"], fine_u)
    g["solid"] = solid = 1 - solid
    # Trunk, neck and shoulders, beyond which is air.
    slope = 0.02 - 0.36 * np.exp(-np.clip(a - 0.34, 0, None) / 0.25) + 0.4 * np.clip(a - 1.35, 0, None) ** 2
    arm = 0.5 + 0.5 * np.cos(np.pi * np.clip((v + 0.05) / 0.5, 0, 1))
    flank = c["flank"] + 1.1 * arm + 0.10 * np.clip(v - 0.9, 0, 0.5)
    body = ramp(np.maximum(v - slope, (0.30 - a) / g["tall"]), fine_v + 0.04) * ramp(flank - a, 0.08)
    deep = np.sqrt(np.clip(1 - (a / (flank + 0.05)) ** 2, 0.05, 1))
    level = body * (c["tissue"] * (0.25 + 0.75 * deep) + 0.45 * np.clip(v - 0.35, -0.5, 0.8) - 0.22)
    level += _OUTSIDE * (body - 1)
    depth = np.clip(gap / 0.30, 0, 1)
    g["lung"] = lung = cover * (1 - 0.95 * solid) * (0.65 + 0.35 * depth * (2 - depth))
    level -= c["air"] * lung
    level += 0.85 * solid * np.clip(1 - 2 * (v - 1.05), 0.4, 1)
    level += 0.75 * ramp(v - g["dome"], 0.02) * ramp(flank - a, 0.4) * (1 - 0.4 * solid) * (1 + 0.1 * g["cloud"])
    _bones(c, g, level, a, left, spine, size)
    # The windpipe, gas in the stomach, and the breasts.
    windpipe = bell(middle - 0.01, 0.07) * ramp(0.37 - v, 0.06)
    windpipe += bell(abs(middle) - 0.10 - 0.6 * (v - 0.40), 0.06) * bell(v - 0.40, 0.05)
    level -= 0.55 * windpipe * body
    gas = _ball(u - 0.50, v - g["angle"] - 0.02 + c["Atelectasis"][1] * 0.1, 0.24, 0.10, fine_u)
    level -= np.clip(c["bubble"], 0, 1.2) * 0.9 * gas * ramp(v - g["dome"] - 0.03, 0.03)
    level += 0.45 * np.clip(c["breast"], 0, 0.8) * _ball(a - 0.62, v - 0.78, 0.50, 0.26, 0.15)
    # Vessels, and the haze of vessels that are too fine to be seen.
    tree = _strew(t["vessel"], t["vessel_wide"], 20 * t["vessel_wide"], t, size, max(12, size // 5))
    tree += 0.25 * bell(a - 0.22, 0.12) * bell(v - 0.48, 0.13)
    g["tree"] = tree = tree * c["vessels"] * np.minimum(cover, 1 - 0.6 * solid)
    level += tree
    level += c["parenchyma"] * g["mesh"] * lung
    return level


def _pick(pair: np.ndarray, left: np.ndarray) -> np.ndarray:
    """For each column, the value (n, 1, W) on its side of a quantity (2, n, 1, 1) of the right and the left side."""
    return pair[0] + (pair[1] - pair[0]) * left


def _ball(x, y, wide, high, edge):
    """The thickness of an ellipsoid along the ray, from 0 to 1."""
    inside = 1 - (x / wide) ** 2 - (y / high) ** 2
    return np.sqrt(np.clip(inside, 0, 1)) * ramp(inside, 4 * edge)


def _bones(c, g, level, a, left, spine, size):
    """Add the spine, the ribs, the clavicles and the shoulder blades to `level`."""
    v, fine_v = g["v"], g["edge_v"]
    cage = ramp(g["wall"] + 0.05 - a, 0.05) * ramp(g["dome"] + 0.05 - v, 0.2)
    fine = np.maximum(0.10, fine_v / c["spacing"])
    # At the back, ribs run outwards and turn down at the wall; at the front, they return downwards to the midline.
    arc = -0.14 * a + 0.20 * a**2 + 0.30 * a**4
    behind = (v - arc * (0.8 + 0.4 * v)) / c["spacing"] + c["rib_phase"]
    ribs = _tube(behind, 0.23, fine)
    front = (v - c["steep"] * (1 - a) + 0.14 * a**3) / (1.15 * c["spacing"]) + c["rib_phase"] + 0.3
    ribs += 0.50 * _tube(front, 0.27, fine) * np.clip(2.2 * (a - 0.40), 0, 1) * ramp(0.92 - a, 0.2)
    ribs *= cage * ramp(a - 0.10, 0.06)
    ribs *= ramp(behind - c["rib_phase"] + 0.4, 0.2)  # none above the first
    g["ribs"] = ribs = c["rib"] * ribs
    level += ribs
    level += 0.30 * ramp(0.115 - abs(spine), 0.03) * (1 + 0.35 * np.cos(2 * np.pi / c["spacing"] * v))
    # The clavicles have the shape of a gentle S from the breastbone to the shoulder.
    along = (a - 0.12) / 1.0
    height = c["clavicle_at"] + (2 * left - 1) * 0.008 - c["clavicle_tilt"] * along + 0.035 * np.sin(5.5 * along - 0.3)
    thick = 0.030 + 0.02 * (along - 0.5) ** 2
    bone = np.clip(1.4 - abs(v - height) / thick, 0, 1) * ramp(along, 0.03) * ramp(1.15 - along, 0.1)
    level += c["clavicle"] * bone
    blade = a - c["scapula"] - 0.22 * (v - 0.25) ** 2 * 4
    blade = ramp(blade, 0.03) * (0.6 + 0.6 * bell(blade, 0.035)) * ramp(0.60 - v, 0.1) * ramp(v - 0.02, 0.1)
    level += 0.22 * blade * ramp(1.45 - a, 0.1)
    level += 0.5 * _ball(a - 1.38, v - 0.06, 0.20, 0.13, 0.03)  # head of the humerus


def _tube(phase, half, fine):
    """Hollow bones, one for each unit of `phase`, which are brighter at their edges."""
    away = phase - np.floor(phase)
    away -= 0.5
    np.abs(away, out=away)
    cover = ramp(half - away, fine)
    return cover * (0.62 + 0.5 * (away / half) ** 2)


def _hardware(t, size):
    """The lines, the leads and the letter of a side: (n, H, W)."""
    seen = t["line_shine"]
    if not seen.any():
        return 0
    line, letter = t["line"].copy(), t["line"].shape[1] - 3
    to_u = (line[:, letter:, ..., 0] - t["centre"][:, None, None]) / t["wide"][:, None, None]
    to_v = (line[:, letter:, ..., 1] - t["top"][:, None, None]) / t["high"][:, None, None]
    line[:, letter:] = np.stack([to_u, to_v], -1)
    wide = np.full((*seen.shape, 2), 0.0085, np.float32)
    return _strew(line, wide, np.repeat(seen[..., None], 2, -1), t, size, 3 * size // 2)


def _strew(curves, wide, shine, t, size, points):
    """An image (n, H, W) of curves of three control points (n, S, 3, 2) in (u, v).

    wide, shine: (n, S, 2), the SD across a curve in half-widths of the thorax, and its attenuation, at both ends.
    """
    radiograph, curve = np.nonzero(shine.any(-1))
    curves, wide, shine = curves[radiograph, curve], wide[radiograph, curve], shine[radiograph, curve]
    s = (np.arange(points, dtype=np.float32) + 0.5) / points
    basis = (1 - s) ** 2, 2 * s * (1 - s), s**2
    x, y = (sum(curves[:, i, axis, None] * basis[i] for i in range(3)) for axis in range(2))
    own = {k: t[k][radiograph, None] for k in ("wide", "centre", "high", "top", "bar")}
    x = (x * own["wide"] + own["centre"]) * size - 0.5
    y = ((y * own["high"] + own["top"]) * (1 - 2 * own["bar"]) + own["bar"]) * size - 0.5
    step = np.hypot(np.gradient(x, axis=-1), np.gradient(y, axis=-1))
    sd = (wide[:, :1] + (wide[:, 1:] - wide[:, :1]) * s) * own["wide"]
    weight = (shine[:, :1] + (shine[:, 1:] - shine[:, :1]) * s) * step * sd * np.float32(size * np.sqrt(2 * np.pi))
    inside = (x > 0) & (x < size - 1) & (y > 0) & (y < size - 1)
    radiograph = np.broadcast_to(radiograph[:, None], x.shape)[inside]
    x, y, weight, sd = x[inside], y[inside], weight[inside], sd[inside]
    column, row = x.astype(np.intp), y.astype(np.intp)
    x, y = x - column, y - row
    where = (radiograph * size + row) * size + column
    taps = ((0, (1 - x) * (1 - y)), (1, x * (1 - y)), (size, (1 - x) * y), (size + 1, x * y))
    grade = np.clip(np.interp(np.log(sd), np.log(_WIDTHS), np.arange(len(_WIDTHS))), 0, len(_WIDTHS) - 1)
    total, cells = 0, len(t["key"]) * size * size
    for i, blur in enumerate(_blurs(size)):
        near = np.flatnonzero(abs(grade - i) < 1)
        share = weight[near] * (1 - abs(grade[near] - i))
        image = sum(np.bincount(where[near] + move, share * part[near], cells) for move, part in taps)
        total = total + blur @ image.astype(np.float32).reshape(-1, size, size) @ blur.T
    return total


@functools.cache
def _blurs(size: int) -> list[np.ndarray]:
    """The matrix (size, size) that blurs a column, for each of _WIDTHS."""
    away = np.subtract.outer(np.arange(size), np.arange(size)) / size
    kernels = [np.exp(-0.5 * (away / np.hypot(width, 0.25 / size)) ** 2) for width in _WIDTHS]
    return [np.where(k < 1e-5, 0, k / k[size // 2].sum()).astype(np.float32) for k in kernels]


@functools.cache
def _pool(size: int) -> np.ndarray:
    """The matrix (size, size) of a wide blur that preserves constants."""
    away = np.subtract.outer(np.arange(size), np.arange(size)) / size
    kernel = np.exp(-0.5 * (away / 0.08) ** 2)
    return (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)


def _fields(keys: np.ndarray, size: int) -> list[np.ndarray]:
    """Random fields of unit variance, each (n, size, size), from one stream for each radiograph."""
    counts = [k * k for k in _GRIDS.values()]
    # Random bytes cost a fifth of normal deviates, and smearing makes them normal.
    raw = np.stack([np.random.SFC64(int(key)).random_raw(-(-sum(counts) // 8)) for key in keys])
    white = (raw.astype("<u8").view(np.uint8).astype(np.float32) - 127.5) / 73.9
    parts = np.split(white[:, : sum(counts)], np.cumsum(counts)[:-1], axis=1)
    smears = [_smear(k, size) for k in _GRIDS.values()]
    return [
        smear @ part.reshape(-1, k, k) @ smear.T for part, k, smear in zip(parts, _GRIDS.values(), smears, strict=True)
    ]


@functools.cache
def _smear(points: int, pixels: int) -> np.ndarray:
    """The matrix (pixels, points) that mixes white noise to unit variance and averages it over each pixel."""
    at = (np.arange(8 * pixels) + 0.5) / (8 * pixels)
    grid = np.linspace(-0.03, 1.03, points)
    weight = np.exp(-0.5 * ((at[:, None] - grid) / (0.7 * (grid[1] - grid[0]))) ** 2)
    weight[weight < 1e-4] = 0  # denormal numbers would make the products a hundred times slower
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    return weight.reshape(pixels, 8, points).mean(1).astype(np.float32)
