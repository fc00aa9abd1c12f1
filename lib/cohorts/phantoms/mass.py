"""Mammographic masses drawn from a known anatomy: crops that resemble those of CBIS-DDSM.

A breast has a density, a gain and a direction of its strands; a lesion is a solid, namely an ellipsoid with lobes and
needles. Its craniocaudal (CC) and mediolateral oblique (MLO) crops are therefore projections of one object in two parts
of one breast. Lengths are in widths of a crop, frequencies in cycles per crop, and brightness is the argument of a
logistic curve.
"""

import functools

import numpy as np
import scipy.fft

from lib.cohorts.cohort import Cohort

SCANNERS, LABELS, VIEWS = ("film", "digital"), ("malignant", "benign"), ("CC", "MLO")
SHARE_VALIDATION, SHARE_TEST, SHARE_MALIGNANT = 0.11, 0.24, 0.45  # as in the mass crops of CBIS-DDSM

# For a patient: the number of lesions, and how many of them are seen in one view only; 1.92 crops on average.
_HISTORY, _HISTORY_P = ((1, 1), (1, 0), (2, 1), (2, 0), (3, 0)), (0.25, 0.66, 0.03, 0.05, 0.01)
_LOBES, _NEEDLES, _LIGAMENTS = 10, 24, 5
_DRIFT_BAND, _FIBRE_BAND = 8, 32  # the frequency from which on these fields have no power
# For each scanner: offset, slope and exponent of the characteristic curve; grain; blur; share of crops with air;
# magnification.
_SCAN = {"film": (-0.05, 1.0, 1, 0.034, 0.0045, 0.08, 1.0), "digital": (0.12, 1.7, 1.5, 0.038, 0.0025, 0.45, 0.64)}


def draw(*, patients: int, image_size: int = 128, rng: np.random.Generator, scanner: str = "film") -> Cohort:
    """Draw the mass crops of `patients` patients, about 1.9 of each.

    `images` are uint8 (N, image_size, image_size), with an even image_size from 16 to 256. `view` is 0 CC, 1 MLO;
    `labels` are 0 malignant, 1 benign; `site` is 0 film, 1 digital; `masks` are 0 or 1, the lesion without its needles;
    `split` is disjoint by patient, and stratified by label if three patients have each; `source_name` names patient,
    lesion and view. The same state of `rng` gives the same patients at every size, where a small image is a large one
    box-averaged. Raises ValueError for fewer than three patients, another size, and an unknown scanner.
    """
    if patients < 3:
        raise ValueError(f"patients is {patients}; three splits need at least 3")
    if image_size % 2 or not 16 <= image_size <= 256:
        raise ValueError(f"image_size is {image_size}; choose an even number from 16 to 256")
    if scanner not in SCANNERS:
        raise ValueError(f"unknown scanner {scanner!r}: choose one of {', '.join(SCANNERS)}")
    truth = _anatomy(patients, scanner, rng)
    images, masks = _render(truth, image_size, scanner)
    crops = zip(truth["patient"], truth["lesion"], truth["view"], strict=True)
    return Cohort(
        images,
        truth["patient"],
        truth["labels"],
        truth["split"],
        lesion=truth["lesion"],
        view=truth["view"],
        masks=masks,
        site=np.full(len(images), SCANNERS.index(scanner)),
        source_name=[f"patient{p}_lesion{n}_{VIEWS[v]}" for p, n, v in crops],
        label_names=LABELS,
        name="phantom_mass",
        modality="MG",
        licence="CC0-1.0 (drawn, no patient)",
        source="drawn by lib.cohorts.phantoms.mass",
    )


def _splits(malignant: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The split code of each patient, stratified by `malignant` (P,) if both classes have 3 patients."""
    code, few = np.zeros(len(malignant), np.uint8), min(malignant.sum(), (~malignant).sum()) < 3
    for stratum in [np.ones_like(malignant)] if few else [malignant, ~malignant]:
        members = rng.permutation(np.flatnonzero(stratum))
        validation, test = (max(1, round(share * len(members))) for share in (SHARE_VALIDATION, SHARE_TEST))
        code[members[:validation]], code[members[validation : validation + test]] = 1, 2
    return code


def _anatomy(p: int, scanner: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Everything random of p patients except the noise of pixels: one row for each image, whatever its size."""
    normal, uniform, share_air, magnification = rng.standard_normal, rng.uniform, *_SCAN[scanner][5:]
    first_malignant, density = rng.permutation(p) < round(SHARE_MALIGNANT * p), _logistic(1.2 * normal(p))
    breast = {
        "split": _splits(first_malignant, rng), "side": rng.choice([-1.0, 1.0], p), "strands": uniform(0, np.pi, p),
        "base": 0.42 * normal(p) + 0.7 * (density - 0.5), "gain": np.exp(0.24 * normal(p)),
        "cloud": 0.13 + 0.14 * density, "beta": uniform(2.9, 3.4, p), "grain": np.exp(0.3 * normal(p)),
        "fibre": np.exp(-3.3 + 0.3 * normal(p) + 0.6 * density), "stretch": np.exp(uniform(0.3, 1.2, p)),
    }  # fmt: skip
    # Lesions. A severity, which is higher in cancer but overlaps, drives each sign with an error of its own.
    history = np.array(_HISTORY)[rng.choice(len(_HISTORY), p, p=_HISTORY_P)]
    owner = np.repeat(np.arange(p), history[:, 0])
    n, first = len(owner), np.r_[True, owner[1:] != owner[:-1]]
    malignant = first_malignant[owner] ^ (~first & (uniform(size=n) < 0.2))
    severity = np.where(malignant, 1.1, -1.1) + 0.75 * normal(n)
    irregular, spiculated, dense, fuzzy = _logistic(1.6 * (severity + 0.6 * normal((4, n))))
    spiky, lobes, needles = spiculated[:, None], (n, _LOBES), (n, _NEEDLES)
    axes, turn = np.exp((0.16 + 0.06 * irregular)[:, None] * normal((n, 3))), np.linalg.qr(normal((n, 3, 3)))[0]
    outward = normal((n, _LOBES + _NEEDLES, 3))
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    solid = {
        "quadric": np.einsum("nij,nj,nkj->nik", turn, axes**2, turn), "lobe": outward[:, :_LOBES],
        "bulge": (0.08 + 0.36 * irregular[:, None] ** 1.3) * normal(lobes), "keen": np.exp(uniform(1, 4, lobes)),
        "needle": outward[:, _LOBES:], "reach": np.exp(0.4 + 0.45 * normal(needles)) * (0.6 + 0.8 * spiky),
        "thick": 0.011 * np.exp(0.35 * normal(needles)), "shine": (0.05 + 0.4 * spiky) * uniform(0.3, 1, needles),
        "miss": 0.035 * normal(needles), "mottle": 0.05 + 0.15 * irregular, "fray": 0.01 + 0.1 * fuzzy,
        "count": np.where(spiculated > 0.35, np.rint(spiculated * uniform(0.3, 1, n) * _NEEDLES), 0),
        "contrast": (0.26 + 0.7 * dense) * np.exp(0.22 * normal(n)), "soft": 0.08 + 0.5 * fuzzy * uniform(0.4, 1, n),
        "halo": np.where(uniform(size=n) < 0.4 * (1 - fuzzy) * (1 - irregular), uniform(0.04, 0.12, n), 0),
    }  # fmt: skip
    radius = np.clip(np.exp(-1.45 + 0.26 * normal(n) + 0.14 * dense), 0.13, 0.36) * magnification
    # Images: one or both views. MLO turns the breast about the axis from chest wall to nipple.
    lesion = np.repeat(np.arange(n), np.where(single := first & (history[owner, 1] > 0), 1, 2))
    view = np.where(single[lesion], rng.integers(0, 2, len(lesion)), np.r_[False, lesion[1:] == lesion[:-1]])
    owner, n = owner[lesion], len(lesion)
    projection, tilt = np.zeros((n, 2, 3)), np.where(view, uniform(0.7, 1.05, n), uniform(-0.1, 0.1, n))
    projection[:, 0, 0], projection[:, 1, 1:] = breast["side"][owner], np.stack([np.cos(tilt), np.sin(tilt)], 1)
    across = breast["strands"][owner, None] + np.pi / 2 + 0.5 * normal(arcs := (n, _LIGAMENTS))
    # A border, beyond which lies dark air, bright pectoral muscle, or tissue that is a little darker or brighter.
    air, muscle, towards = uniform(size=n) < share_air, view * uniform(size=n) > 0.85, uniform(0, 2 * np.pi, n)
    crop = {
        "patient": owner, "lesion": lesion, "view": view, "labels": np.where(malignant[lesion], 0, 1),
        "key": rng.integers(0, 2**63, n), "projection": projection, "radius": radius[lesion] * np.exp(0.1 * normal(n)),
        # In the published crops the lesion lies below the centre and to the right of it.
        "centre": [0.56, 0.64] + 0.05 * normal((n, 2)), "level": 0.12 * normal(n), "slope": 0.3 * normal((n, 2)),
        # Arcs: normal (x, y), distance, curvature, thickness, brightness, phase of a wave.
        "arc": np.stack([np.cos(across), np.sin(across), uniform(-0.6, 0.5, arcs), 0.5 * normal(arcs), 0.008 * np.exp(
            0.5 * normal(arcs)), uniform(0, 5, arcs), uniform(0, 2 * np.pi, arcs)], 1), "turned": 0.25 * normal(n),
        "side_x": np.cos(towards), "side_y": np.sin(towards), "gap": uniform(0.2, 0.45, n), "ragged": 0.05 * ~air,
        "bend": uniform(0.1, 0.7, n), "step": np.where(air, -1.5, np.where(muscle, 0.7, 0.24 * normal(n))),
        "crisp": np.where(air, 40, np.exp(uniform(2, 4, n))), "fall": 3 * air,
    }  # fmt: skip
    return crop | {k: v[lesion] for k, v in solid.items()} | {k: v[owner] for k, v in breast.items()}


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _render(truth: dict[str, np.ndarray], size: int, scanner: str, chunk: int | None = None):
    """Images and masks (N, size, size) uint8. `chunk`, how many are drawn at a time, changes the speed and no byte."""
    starts = range(0, len(truth["key"]), chunk := chunk or max(1, 2**16 // size**2))
    crops = [_expose({k: v[i : i + chunk] for k, v in truth.items()}, size, scanner) for i in starts]
    return tuple(np.concatenate(stack) for stack in zip(*crops, strict=True))


def _expose(truth: dict[str, np.ndarray], size: int, scanner: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks of a few crops; in the code, t holds their truth, and c the same in shapes that broadcast."""
    offset, slope, exponent, grain, blur, *_ = _SCAN[scanner]
    t = {k: v if k == "key" else v.astype(np.float32) for k, v in truth.items()}
    c = {k: np.moveaxis(v, 0, -1)[..., None, None] for k, v in t.items()}
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = at - c["centre"][0], at[:, None] - c["centre"][1]
    cloud, drift, fibres = _tissue(t["key"], {k: v[..., 0] for k, v in c.items()}, size, grain, blur)
    level = c["fibre"] * (fibres + _ligaments(c["arc"], x, y, size)) * np.clip(0.7 + 0.5 * drift, 0, None) + cloud
    # The body is the thickness of a solid along the ray, with a soft, frayed edge and perhaps a halo.
    r = np.sqrt(x**2 + y**2)
    rho, which = _outline(t, x, y, r)
    inside = 1 - (rho + c["fray"] / c["cloud"] * cloud) ** 2
    depth = 0.5 * (inside + np.sqrt(inside**2 + c["soft"] ** 2 + (0.7 / size / c["radius"]) ** 2))
    level += c["contrast"] * (1.35 * depth / (0.35 + depth)) * (1 + c["mottle"] * drift)
    level -= c["halo"] * np.exp(-np.minimum(((rho - 1.1) / 0.07) ** 2, 30))
    if (some := t["count"] > 0).any():
        level[some] += _needles({k: v[some] for k, v in t.items()}, *(a[some] for a in (x, y, r, rho, which, drift)))
    beyond = c["side_x"] * x + c["side_y"] * y + c["bend"] * (c["side_x"] * y - c["side_y"] * x) ** 2 - c["gap"]
    level = (level + c["slope"][0] * x + c["slope"][1] * y) * (slope * c["gain"]) + (offset + c["base"] + c["level"])
    level += c["step"] * _logistic(c["crisp"] * (beyond + c["ragged"] * drift))
    level -= c["fall"] * (beyond + np.sqrt(beyond**2 + 0.01))
    return np.rint(255 * _logistic(level) ** np.float32(exponent)).astype(np.uint8), (rho <= 1).astype(np.uint8)


@functools.cache
def _lattice(size: int, band: int):
    """Frequencies fx ≥ 0 and fy below `band`, those of a small image first, and weights that average over pixels."""
    fy, fx = np.mgrid[-band + 1 : band, :band].reshape(2, -1)
    fx, fy = np.stack([fx, fy])[:, np.argsort(np.maximum(abs(fy), fx), kind="stable")]
    weight = np.exp(1j * np.pi * (fx + fy) / size) * np.sinc(fx / size) * np.sinc(fy / size)
    weight *= np.where(fx == 0, np.sqrt(2), 1) * (fx + abs(fy) > 0)  # the inverse halves this column's power
    place = np.zeros(size * (size // 2 + 1), np.intp)  # where each coefficient goes; elsewhere the first, which is 0
    place[fy % size * (size // 2 + 1) + fx] = np.arange(len(fx))
    return fx.astype(np.float32), fy.astype(np.float32), weight.astype(np.complex64), place


def _field(white: np.ndarray, power: np.ndarray, size: int, band: int) -> np.ndarray:
    """Gaussian fields (n, size, size) of a power spectrum (n, m), from complex white noise (n, m or more)."""
    fx, _, weight, place = _lattice(size, band)
    # Not `*`, which NumPy computes in place for large temporaries with other rounding: bytes would depend on the chunk.
    spectrum = np.multiply(white[:, : len(fx)], np.sqrt(power) * weight).take(place, axis=1)
    return scipy.fft.irfft2(spectrum.reshape(len(white), size, -1), s=(size, size), norm="forward", overwrite_x=True)


def _tissue(keys, c, size, grain, blur):
    """Clouds of power-law noise with grain, a smooth drift of SD 1, and skewed fibres, each (n, size, size)."""
    half, fine = size // 2, min(_FIBRE_BAND, size // 2)
    ends = np.cumsum([band * (2 * band - 1) for band in (_DRIFT_BAND, _FIBRE_BAND, half)])
    white = np.empty((len(keys), ends[-1], 2), np.float32)
    for row, key in zip(white, keys, strict=True):  # a stream for each image: it depends on no other
        np.random.default_rng(key).standard_normal(out=row, dtype=np.float32)
    of_drift, of_fibres, of_cloud = np.split(white.view(np.complex64)[..., 0], ends[:2], axis=1)
    cos, sin = np.cos(c["strands"] + c["turned"]), np.sin(c["strands"] + c["turned"])

    def squared(band, stretch):
        fx, fy, *_ = _lattice(size, band)
        stretched = (fx * cos + fy * sin) ** 2 * stretch + (fy * cos - fx * sin) ** 2 / stretch
        return stretched, np.exp(-4 * (np.pi * blur) ** 2 * (fx**2 + fy**2))

    # The power f^-3 adds up to 9 over the lattice, so 18 gives the cloud an SD of 1 before it is scaled.
    f2, optics = squared(half, c["stretch"] ** 0.25)
    power = np.exp(np.log(np.maximum(f2, 0.5)) * (-0.5 * c["beta"])) * optics * (c["cloud"] ** 2 / 18)
    cloud = _field(of_cloud, power + (c["grain"] * grain / 128) ** 2 / 2, size, half)  # grain at 128 pixels
    power = np.exp(-squared(_DRIFT_BAND, c["stretch"] ** 0.5)[0] / 4)
    drift = _field(of_drift, power / (4 * power[:, 1:].sum(1, keepdims=True)), size, _DRIFT_BAND)
    f2, optics = squared(fine, c["stretch"])
    fibres = _field(of_fibres, 0.3 * optics * f2 / ((f2 + 16) ** 2 * np.sqrt(f2 + 16)), size, fine)
    return cloud, drift, np.exp(fibres) - 1.4


def _ligaments(arcs, x, y, size):
    """Cooper's ligaments, which are long, thin, gently curved arcs."""
    total = 0
    for nx, ny, distance, bend, thick, shine, phase in np.moveaxis(arcs, 1, 0):
        wide = np.sqrt(thick**2 + (0.35 / size) ** 2)
        # The distance across an arc is nx x + ny y - distance + bend (ny x - nx y)^2 and a wave, in units of its width.
        across = (-2 * nx * ny * bend / wide) * x * y
        across += (nx * x + bend * (ny * x) ** 2 - distance + 0.012 * np.sin(9 * x + phase)) / wide
        across += (ny * y + bend * (nx * y) ** 2 + 0.012 * np.sin(8 * y + phase)) / wide
        np.minimum(np.square(across, out=across), 30, out=across)  # arithmetic is slow below e^-30
        total += shine * thick / wide * np.exp(-across)
    return total


@functools.cache
def _rays(bins: int) -> np.ndarray:
    """Unit vectors (2, bins), evenly spaced in y / (|x| + |y|), so that the bin of a pixel needs no arctangent."""
    turn = (np.arange(bins) + 0.5) * 4 / bins - 1
    y = np.where(turn > 1, 2 - turn, turn)
    ray = np.stack([(1 - abs(y)) * np.where(turn > 1, -1, 1), y])
    return (ray / np.linalg.norm(ray, axis=0)).astype(np.float32)


def _look_up(table, which):
    return np.stack([row.take(bins) for row, bins in zip(table, which, strict=True)])


def _outline(t, x, y, r):
    """The distance of each pixel from the centre of the lesion, in units of its outline, and its bin of direction."""
    turn, ray = y / (np.abs(x) + np.abs(y)), _rays(4 * r.shape[-1])
    which = ((np.where(x < 0, 2 - turn, turn) + 1) * (r.shape[-1] - 1e-4)).astype(np.int32)
    shadow = np.linalg.inv(np.einsum("nij,njk,nlk->nil", t["projection"], t["quadric"], t["projection"]))
    outline = np.einsum("ib,nij,jb->nb", ray, shadow, ray) ** -0.5 * t["radius"][:, None]
    facing = np.einsum("nli,nji,jb->nlb", t["lobe"], t["projection"], ray)  # seen from its side, a lobe bulges out
    bulge = np.einsum("nl,nlb->nb", t["bulge"], np.exp(t["keen"][..., None] * (facing - 1)))
    return r / _look_up(outline * np.clip(1 + bulge, 0.5, 1.8), which), which


def _needles(t, x, y, r, rho, which, drift):
    """Spicules, which are thin rays outwards from the margin, bent by the tissue; a pixel sees the nearest in angle."""
    tip = np.einsum("nki,nji->jnk", t["needle"], t["projection"])
    length = np.sqrt((tip**2).sum(0))
    near = np.einsum("jnk,jb->nkb", tip / length, _rays(4 * r.shape[-1]))
    near[np.arange(_NEEDLES) >= t["count"][:, None]] = -2
    row, best = np.arange(len(r))[:, None], near.argmax(1)
    tables = (*tip / length, t["reach"] * length * t["radius"][:, None], t["shine"], t["thick"], t["miss"])
    ax, ay, reach, shine, thick, miss = (_look_up(table[row, best], which) for table in tables)
    out = np.maximum(r - 0.6 * r / rho, 0)
    thick *= 1 + 1.5 * np.exp(-20 * out)
    wide = np.sqrt(thick**2 + (0.35 / r.shape[-1]) ** 2)
    across = y * ax - x * ay + 0.12 * drift * out - miss
    fade = np.clip(1 - out / reach, 0, 1) * np.clip(2.5 * rho - 1, 0, 1)
    return shine * (thick / wide) * np.exp(-np.minimum((across / wide) ** 2, 30)) * fade
