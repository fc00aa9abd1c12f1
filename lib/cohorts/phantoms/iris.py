"""Near-infrared images of eyes drawn from a known anatomy, whose iris identifies the patient and shows disease.

The images of a patient share skin, brow, lids, lashes and the texture of both irides; each eye adds a jitter; each
image has its own place, pupil, opening of the lids and light. Within the iris disc only a texture of amplitude `leak`
depends on the patient; if it is 0, the discs of two patients are exchangeable. Glaucoma shows only there, as a
mid-dilated pupil, haze and a bright sector. Right eyes are mirrored, as in the published preprocessing, so that temples
lie on the left; their light then comes from the other side. Lengths are in half-widths of the frame, to the right of
and below the centre of the iris. Brightness is in parts of the full range, but `leak` and `noise` refer to pixels
scaled to -1 … 1.
"""

import numpy as np

from lib.cohorts.cohort import Cohort
from lib.cohorts.splits import split_codes

LABELS, REGIMES, EYES, SIZES = ("no glaucoma", "glaucoma"), ("factorial", "eye"), ("left", "right"), (32, 64)
PREVALENCE, SPLITS = 0.35, (70, 10, 20)
SHIFT = 2 / 32  # 2 px of 64

_DRAWN = 128  # pixels on a side, box-averaged to the size asked for
_MARGIN = 24  # pixels of these, on each side, that no disc reaches
_RINGS, _SPOKES, _ORDERS = 24, 512, 16  # the size of the table of a texture, and its angular frequencies
_ALONG, _REACH = 512, 1.4  # the size of the table of lashes along a lid, which extends from -_REACH to _REACH
_LASHES, _LOW_LASHES, _WAVES, _HAIRS = 22, 14, 10, 64
_SKIN = 0.60
# For each quantity outside the disc: its median, its SD between patients, and its SD between the eyes of a patient.
_FACE = {
    "tone": (0.0, 0.07, 0.01), "slope_x": (0.03, 0.06, 0.01), "slope_y": (0.03, 0.06, 0.01),
    "nose": (0.08, 0.06, 0.01), "sclera": (0.70, 0.04, 0.006), "mottle": (0.04, 0.012, 0.002),
    "tilt": (-0.05, 0.14, 0.015), "up_out": (0.30, 0.35, 0.04), "up_in": (0.35, 0.35, 0.04),
    "low_out": (0.15, 0.3, 0.04), "low_in": (0.05, 0.3, 0.04), "crease": (0.17, 0.055, 0.006),
    "crease_deep": (0.20, 0.08, 0.01), "crease_rise": (0.0, 0.07, 0.01), "fold": (0.24, 0.06, 0.01),
    "fold_deep": (0.10, 0.06, 0.008), "brow": (-0.80, 0.10, 0.012), "brow_dark": (0.30, 0.10, 0.01),
    "brow_slope": (-0.02, 0.09, 0.01), "lash_long": (0.18, 0.045, 0.005), "lash_dark": (0.42, 0.10, 0.01),
    "lash_sweep": (-1.2, 0.6, 0.08), "low_long": (0.11, 0.03, 0.004), "low_dark": (0.20, 0.07, 0.01),
}  # fmt: skip


def draw(
    *,
    patients: int = 12,
    eyes: int = 2,  # of each patient, 1 or 2
    images: int = 20,  # of each eye
    image_size: int = 64,  # pixels on a side, 32 or 64
    rng: np.random.Generator,
    regime: str = "factorial",  # glaucoma by image, or "eye": by eye
    leak: float = 0.06,  # SD of the patient's texture in the disc, of pixels in [-1, 1]
    noise: float = 0.07,  # SD of each pixel's noise, of pixels in [-1, 1]
    variety: float = 1.0,  # how much patients differ outside the disc: all SDs between them, times this
    severity: float = 0.7,  # the least of a glaucoma, whose severities are uniform from there to 1
) -> Cohort:
    """Draw `images` images of each of 1 or 2 `eyes` of each patient.

    `images` are uint8 (N, image_size, image_size), with image_size 32 or 64. `labels` are 0 no glaucoma, 1 glaucoma,
    the latter for a share PREVALENCE of the images (regime "factorial") or of the eyes (regime "eye": the same for all
    images of an eye, as in hospital collections, so that identity predicts disease). `view` is 0 left eye, 1 right eye;
    `masks` are the iris disc, including what a lid covers; `split` is 70/10/20 % of the images of each patient, so that
    each patient is in every split (`closed_set`); `source_name` names patient, eye and image. leak: the SD of the
    patient's texture in the disc. noise: the SD of the noise of each pixel. variety: below 1 all patients are drawn
    nearer to their median outside the disc, so that they are told apart less easily; at 0 they differ there by eye and
    image alone. severity: near 0 the slightest glaucoma hardly shows. The same state of `rng` gives the same eyes for
    every size, regime, leak, noise, variety and severity. Apart from the noise and the rim of the disc, size 32 is
    size 64 box-averaged.

    Raises ValueError for an unknown regime or size, fewer than one patient, one eye or three images a patient, more
    than two eyes, a leak or noise outside 0 to 0.5, or a variety or severity outside 0 to 1.
    """
    for name, value, low, high in (("patients", patients, 1, None), ("eyes", eyes, 1, 2), ("images", images, 1, None)):
        if not isinstance(value, (int, np.integer)) or value < low or (high and value > high):
            raise ValueError(f"{name} is {value!r}; give a whole number from {low}" + (f" to {high}" if high else ""))
    if eyes * images < 3:
        raise ValueError(f"a patient has {eyes * images} images; three splits need at least 3 of each")
    if image_size not in SIZES:
        raise ValueError(f"image_size is {image_size!r}; choose one of {', '.join(map(str, SIZES))}")
    if regime not in REGIMES:
        raise ValueError(f"unknown regime {regime!r}: choose one of {', '.join(REGIMES)}")
    for name, sd in (("leak", leak), ("noise", noise)):
        if not 0 <= sd <= 0.5:
            raise ValueError(f"{name} is {sd}; give a value from 0 to 0.5, of pixels scaled to -1 … 1")
    for name, amount in (("variety", variety), ("severity", severity)):
        if not 0 <= amount <= 1:
            raise ValueError(f"{name} is {amount}; give a value from 0 to 1")
    of_face, of_image, of_label, of_split, of_noise = map(np.random.default_rng, rng.integers(0, 2**63, 5))
    eye = np.repeat(np.arange(patients * eyes), images)
    groups = len(eye) if regime == "factorial" else patients * eyes
    ill = of_label.permutation(groups) < np.rint(PREVALENCE * groups)
    ill = ill if regime == "factorial" else ill[eye]
    tables = _faces(patients, eyes, of_face, variety)
    truth = _images(eye, ill, eye % eyes, of_image, severity)
    grey, masks = _render(tables, truth, image_size, leak)
    grey += noise / 2 * of_noise.standard_normal(grey.shape, np.float32)
    codes = np.tile(split_codes(eyes * images, SPLITS, of_split), (patients, 1))
    owner, side = eye // eyes, eye % eyes
    return Cohort(
        np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8),
        owner,
        ill,
        of_split.permuted(codes, axis=1).ravel(),
        view=side,
        masks=masks,
        closed_set=True,
        label_names=LABELS,
        source_name=[f"patient{p}_{EYES[s]}_{i % images}" for i, (p, s) in enumerate(zip(owner, side, strict=True))],
        name="phantom_iris",
        modality="NIR",
        licence="CC0-1.0 (drawn, no patient)",
        source=f"drawn by lib.cohorts.phantoms.iris, regime {regime}, leak {leak:g}, variety {variety:g}",
    )


def _faces(patients: int, eyes: int, rng: np.random.Generator, variety: float = 1.0) -> dict[str, np.ndarray]:
    """The random quantities of each eye (G, ...), its texture of SD 1, and tables of the lashes along its lids."""

    def vary(between, within, *shape, by=variety):
        own = by * between * rng.standard_normal((patients, 1, *shape))
        return (own + within * rng.standard_normal((patients, eyes, *shape))).reshape(-1, *shape)

    face = {name: median + vary(*spread) for name, (median, *spread) in _FACE.items()}
    face["wave"] = vary(2.6, 0.0, 2, _WAVES), vary(9.0, 0.3, 2, _WAVES), vary(0.35, 0.03, _WAVES)
    face["texture"] = _texture(*(vary(*spread, _ORDERS, by=1.0) for spread in ((9.0, 0.2), (9.0, 0.2), (1.6, 0.1))))
    for name, count, wide in (("lash", _LASHES, 0.017), ("low", _LOW_LASHES, 0.017), ("hair", _HAIRS, 0.014)):
        root = np.linspace(-1.1, 1.1, count) + vary(0.035, 0.008, count)
        length = np.exp(vary(0.22, 0.05, count))
        away = np.linspace(-_REACH, _REACH, _ALONG)[:, None] - root[:, None]
        near = np.abs(away).argmin(-1)
        face[name] = np.exp(-0.5 * (np.abs(away).min(-1) / wide) ** 2), np.take_along_axis(length, near, 1)
    return face


def _texture(phase: np.ndarray, ring: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """Radial fibres and furrows (G, _RINGS, _SPOKES) of SD 1, from a Fourier series with parameters (G, _ORDERS)."""
    order = np.arange(3, 3 + phase.shape[-1])[:, None, None]
    rho, turn = np.linspace(0, 1, _RINGS)[:, None], np.linspace(0, 2 * np.pi, _SPOKES, endpoint=False)
    phase, ring, twist = (a[..., None, None] for a in (phase, ring, twist))
    waves = np.cos(order * turn + phase + twist * rho) * (1 + 0.8 * np.cos(2 * np.pi * rho * (1 + order % 3) + ring))
    total = (waves * order**-0.4).sum(1)
    return (total / total.std((1, 2), keepdims=True)).astype(np.float32)


def _images(
    eye: np.ndarray, ill: np.ndarray, side: np.ndarray, rng: np.random.Generator, least: float = 0.7
) -> dict[str, np.ndarray]:
    """The random quantities of each image except its noise, each (N,); they do not depend on the patient."""
    n, normal, uniform = len(eye), rng.standard_normal, rng.uniform
    healthy, severity = uniform(0.30, 0.40, n), uniform(least, 1, n)
    return {
        "eye": eye, "x": uniform(-SHIFT, SHIFT, n), "y": uniform(-SHIFT, SHIFT, n), "gain": np.exp(0.05 * normal(n)),
        "radius": uniform(0.42, 0.46, n), "pupil": np.where(ill, 0.44 + 0.16 * severity, healthy),
        "ill": ill * severity, "sector": uniform(0, 2 * np.pi, n), "open": uniform(0.37, 0.43, n),
        "low": uniform(0.44, 0.50, n), "light": np.where(side, -1, 1) * uniform(0.04, 0.08, n),
        "light_y": uniform(-0.08, -0.04, n), "fall": np.where(side, -1, 1) * uniform(0.0, 0.06, n),
    }  # fmt: skip


def _render(face: dict, truth: dict, size: int, leak: float, chunk: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Noiseless grey levels (N, size, size) float32 and masks uint8; `chunk` changes the speed and no byte."""
    grey = np.empty((len(truth["eye"]), size, size), np.float32)
    masks, at = np.empty(grey.shape, np.uint8), (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
    common = _texture(*np.random.default_rng(0).uniform(0, 2 * np.pi, (3, 1, 2 * _ORDERS)))
    for start in range(0, len(grey), chunk):
        part = slice(start, start + chunk)
        t = {k: v[part] if k == "eye" else v[part, None, None].astype(np.float32) for k, v in truth.items()}
        fine = (np.arange(_DRAWN, dtype=np.float32) + 0.5) * 2 / _DRAWN - 1
        x, y = fine - t["x"], fine[:, None] - t["y"]
        texture = 0.028 * common + leak / 2 * face["texture"][t["eye"]]
        core, few = slice(_MARGIN, -_MARGIN), slice(_MARGIN * size // _DRAWN, -_MARGIN * size // _DRAWN)
        inside, around = (
            a.reshape(len(a), -1, _DRAWN // size, a.shape[2] * size // _DRAWN, _DRAWN // size).mean((2, 4))
            for a in (_disc(t, texture, x[..., core], y[:, core]), _surround(face, t, x, y))
        )
        # Composed at the final size, so that a pixel of the mask holds nothing of what surrounds the disc.
        beyond = np.hypot(at - t["x"], at[:, None] - t["y"]) - t["radius"]
        masks[part] = beyond <= 0
        cover = np.clip(1 - beyond[:, few, few] * (size / 2), 0, 1)
        around[:, few, few] = cover * inside + (1 - cover) * around[:, few, few]
        grey[part] = around * (t["gain"] * (1 + t["fall"] * at))
    return grey, masks


def _ramp(distance: np.ndarray, width: float = 2 / _DRAWN) -> np.ndarray:
    """An edge that rises from 0 to 1 as `distance` goes from -width / 2 to width / 2."""
    return np.clip(distance / width + 0.5, 0, 1)


def _bell(distance: np.ndarray, width) -> np.ndarray:
    """A ridge that is 1 at distance 0 and 1/e at `width`."""
    return np.exp(-np.minimum((distance / width) ** 2, 30))  # arithmetic is slow below e^-30


def _disc(t, texture, x, y):
    """The iris, the pupil, the reflex, disease, and the lids that cover them, with the same law for every patient."""
    r, turn = np.sqrt(x**2 + y**2) / t["radius"], np.arctan2(y, x)
    rho = np.clip((r - t["pupil"]) / (1 - t["pupil"]), 0, 1)
    ring, spoke = (rho * (_RINGS - 1) + 0.5).astype(np.intp), (turn * (_SPOKES / 2 / np.pi)).astype(np.intp) % _SPOKES
    fibres = texture.reshape(-1).take((np.arange(len(r))[:, None, None] * _RINGS + ring) * _SPOKES + spoke)
    iris = 0.185 + 0.045 * _bell(rho - 0.28, 0.16) - 0.07 * _ramp(rho - 0.92, 0.3) - 0.06 * _bell(rho, 0.07) + fibres
    away = np.abs(np.mod(turn - t["sector"] + np.pi, 2 * np.pi) - np.pi)
    iris += 0.13 * t["ill"] * _bell(away, 0.5) * _bell(rho - 0.5, 0.45)
    grey = iris + _ramp(t["pupil"] - r, 0.06) * (0.035 - iris)
    haze = 0.28 * t["ill"] * _bell(r, 1.2)
    grey += haze * (0.40 - grey)
    glint = np.sqrt((x - t["light"]) ** 2 + (y - t["light_y"]) ** 2)
    grey += _ramp(0.045 - glint, 0.03) * (1 - grey)
    h = -t["open"] + 0.45 * x**2 - y
    grey *= 1 - 0.45 * np.exp(np.clip(h / 0.10, -9, 0))  # shadow of the lid
    lid = 0.16 + np.clip(h - 0.02, 0, 0.12) * 3
    grey += _ramp(h, 0.03) * (lid - grey)
    return grey + _ramp(y - t["low"] + 0.35 * x**2, 0.03) * (0.62 - grey)


def _surround(face, t, x, y):
    """What lies outside the disc and depends on the patient: sclera, lids with lashes, skin, brow and nose."""
    f = {k: face[k][t["eye"]][:, None, None].astype(np.float32) for k in _FACE}
    # As far as the disc reaches, lids depend only on the image; beyond it they depend on the patient.
    s, outer = np.clip(np.abs(x) - 0.48, 0, None), _ramp(-x, 0.2)
    lean = f["tilt"] * np.sign(x) * s
    h = -t["open"] + 0.45 * x**2 + lean + (f["up_in"] + (f["up_out"] - f["up_in"]) * outer) * s**2 - y  # above the lid
    d = y - t["low"] + 0.35 * x**2 - lean + (f["low_in"] + (f["low_out"] - f["low_in"]) * outer) * s**2  # below it
    r, a = np.sqrt(x**2 + y**2), np.abs(x)
    eye = f["sclera"] - 0.16 * a**2 - 0.30 * np.exp(np.clip(h / 0.09, -9, 0)) - 0.10 * np.exp(np.clip(d / 0.05, -9, 0))
    eye -= 0.22 * np.exp(-np.clip((r - t["radius"]) / 0.05, 0, 9))
    eye -= 0.10 * _bell(x - 0.86, 0.10)  # caruncle
    pitch, phase, size = (a[t["eye"], ..., None].astype(np.float32) for a in face["wave"])
    ridge_x, ridge_y = (np.cos(pitch[:, i] * b.reshape(len(size), 1, -1) + phase[:, i]) for i, b in enumerate((x, y)))
    mottle = (size * ridge_y).swapaxes(1, 2) @ ridge_x
    skin = _SKIN + f["tone"] + f["slope_x"] * x + f["slope_y"] * y
    skin += f["nose"] * _bell(x - 1.0, 0.4) + f["mottle"] * mottle
    crease = h - f["crease"] - f["crease_rise"] * x + 0.05 * x**2
    skin += 0.06 * _bell(crease + 0.08, 0.06) + 0.07 * _bell(crease - 0.12, 0.10)
    skin -= f["crease_deep"] * _bell(crease, 0.032) * _ramp(1.0 - a, 0.3)
    skin += 0.07 * _bell(d - 0.08, 0.07) - f["fold_deep"] * _bell(d - f["fold"] - 0.1 * x, 0.05)
    brow = f["brow"] + f["brow_slope"] * x + 0.10 * x**2 - y
    strand = _along(face["hair"][0], t["eye"], x - 0.8 * brow)
    skin -= f["brow_dark"] * _ramp(brow, 0.12) * (0.65 + 0.35 * strand)
    lid = np.maximum(h, d)
    grey = skin + _ramp(-lid) * (eye - skin)
    grey -= (0.30 * _bell(h - 0.01, 0.03) + 0.10 * _bell(d - 0.015, 0.02)) * _ramp(1.0 - a, 0.2)
    for name, up, long, dark in (("lash", h, "lash_long", "lash_dark"), ("low", d, "low_long", "low_dark")):
        root = (x - f["lash_sweep"] * np.sign(up) * up**2 * 0.5 * np.sign(x)) / (1 + 0.9 * np.clip(up, 0, 0.5))
        reach = f[long] * _along(face[name][1], t["eye"], root)
        stroke = _along(face[name][0], t["eye"], root) * np.clip(1.3 - 1.3 * up / reach, 0, 1) * _ramp(up)
        grey -= f[dark] * stroke * _ramp(0.95 - a, 0.15)
    return np.maximum(grey, 0.03)


def _along(table: np.ndarray, eye: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The values at `place` (n, H, W) of the tables (G, _ALONG) along the lids of the eyes (n,)."""
    which = np.clip((place + _REACH) * ((_ALONG - 1) / 2 / _REACH) + 0.5, 0, _ALONG - 1).astype(np.intp)
    return table.astype(np.float32).reshape(-1).take(eye[:, None, None] * _ALONG + which)
