"""Frontal chest radiographs drawn from a known anatomy, of several hospitals and with 14 findings.

The radiographs of a patient share lungs, heart, ribs, vessels and the place of each lesion. Each radiograph has its own
pose, breath, view and lines, and each hospital its own prevalences, mix of views and style. Lengths are in half-widths
of the thorax (u, from the midline, positive to the patient's left) and in heights of the right lung (v, from 0 at the
apex to 1 at the dome). Unlike in real hospitals, views are independent of findings.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr, ndtri

from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import chest_rendering as thorax
from lib.cohorts.splits import split_codes

SITES = ("hospital_a", "hospital_b", "hospital_c")
VIEWS = ("PA", "AP")
# In the order of NIH ChestX-ray14 (`lib.cohorts.public.nih_cxr14.FINDINGS`).
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
SIZES, SPLITS = (16, 256), (70, 10, 20)
PERSISTENCE = (
    0.6  # latent correlation of two radiographs of a patient; for consecutive ones of NIH .40 to .91, median .62
)

# Columns are those of FINDINGS. A: NIH, 112,120 radiographs, labels of 2020. B: CheXpert if it has the label (uncertain
# labels are read as in the published table), otherwise our choice. C: halfway between them, our choice.
_PREVALENCE = {
    "hospital_a": (.103, .025, .119, .177, .052, .056, .013, .047, .042, .021, .022, .015, .030, .002),
    "hospital_b": (.312, .158, .453, .250, .050, .060, .108, .107, .068, .322, .030, .020, .040, .004),
    "hospital_c": (.200, .080, .250, .200, .050, .060, .050, .070, .055, .120, .025, .020, .035, .003),
}  # fmt: skip
# Tetrachoric correlations of NIH's labels (112,120 radiographs, labels of 2020): those of two normal deviates that have
# the φ of the labels when they are cut at the two prevalences. Below the diagonal, in the order of FINDINGS.
_TETRACHORIC = (
    (),
    (.07,),
    (.37, .39),
    (.21, .05, .25),
    (.06, -.07, .20, .04),
    (-.03, -.07, .06, .12, .30),
    (.14, .02, .12, .29, -.01, -.03),
    (.10, -.17, .15, .00, .12, .03, -.09),
    (.31, .08, .28, .14, .25, .12, .15, .00),
    (-.02, .16, .23, .31, .02, .00, .56, -.20, .11),
    (.13, -.06, .05, .00, .11, -.04, -.05, .51, -.00, -.09),
    (.06, .04, -.01, .04, .06, .12, -.09, .00, .02, -.19, -.01),
    (.10, .06, .23, .07, .24, .19, .02, .14, .13, -.01, .14, .26),
    (.11, .03, -.05, -.04, .13, -.04, .00, -.03, -.11, -.05, -.03, .12, .02),
)  # fmt: skip
# For each hospital: share of AP; contrast, brightness and gamma of its curve; noise; blur; share of radiographs with
# bars above and below; chance of each line or lead; chance and place of a side marker (from the edge, from the top).
_STYLE = {
    "hospital_a": (0.15, 1.0, 0.0, 1.0, 0.05, 0.0022, 0.0, 0.06, 0.8, 0.07, 0.10),
    "hospital_b": (0.85, 0.85, -0.1, 0.8, 0.09, 0.0035, 0.85, 0.60, 0.7, 0.06, 0.30),
    "hospital_c": (0.45, 1.25, 0.2, 1.15, 0.07, 0.0028, 0.15, 0.25, 0.9, 0.12, 0.05),
}
_STYLES = ("ap", "contrast", "bright", "gamma", "noise", "blur", "barred", "lined", "marked", "marker_x", "marker_y")

# For each quantity: its median in PA, its SD between patients and between the radiographs of a patient, and the change
# in AP. Quantities of the first table vary by factors, exp(SD z), and those of the second by sums, SD z.
_FACTORS = {
    "wide": (0.345, 0.04, 0.015, 0.97),  # half-width of the thorax, in widths of the radiograph
    "high": (0.565, 0.05, 0.03, 0.88),  # from apex to right dome, in heights of the radiograph
    "heart": (0.43, 0.09, 0.02, 1.14),  # half-width
    "heart_high": (0.30, 0.08, 0.02, 1.08),
    "mediastinum": (0.19, 0.10, 0.02, 1.15),  # half-width
    "knob": (0.10, 0.18, 0.02, 1.1),  # radius of the aortic arch
    "spacing": (0.112, 0.06, 0.01, 1.0),  # of the posterior ribs
    "rib": (0.46, 0.22, 0.05, 0.85),  # attenuation
    "clavicle": (0.72, 0.15, 0.05, 0.9),
    "vessels": (1.0, 0.20, 0.10, 1.0),
    "parenchyma": (0.055, 0.3, 0.1, 1.2),
    "air": (1.85, 0.09, 0.04, 0.90),
    "gain": (1.0, 0.08, 0.05, 0.92),
}
_SUMS = {
    "centre": (0.5, 0.008, 0.012, 0.0),  # of the spine on the radiograph
    "top": (0.115, 0.012, 0.012, 0.04),  # of the lungs on the radiograph
    "lean": (0.0, 0.03, 0.015, 0.0),  # of the spine
    "heart_at": (0.17, 0.03, 0.015, 0.0),
    "heart_low": (0.79, 0.02, 0.015, 0.0),
    "heart_tilt": (0.9, 0.15, 0.05, 0.0),
    "apex": (1.9, 0.2, 0.0, 0.0),  # exponent of the outline of the upper lung
    "drop": (0.135, 0.025, 0.015, -0.02),  # from the dome to the costophrenic angle
    "lower": (0.040, 0.022, 0.008, 0.0),  # of the left dome
    "steep": (0.50, 0.06, 0.01, 0.0),  # of the anterior ribs
    "rib_phase": (0.5, 0.3, 0.03, 0.0),
    "clavicle_at": (0.11, 0.03, 0.02, -0.04),
    "clavicle_tilt": (0.13, 0.04, 0.03, 0.03),
    "scapula": (0.97, 0.06, 0.04, -0.16),  # its border from the midline
    "flank": (1.27, 0.06, 0.01, 0.10),  # half-width of the trunk
    "tissue": (1.0, 0.15, 0.04, 0.0),
    "bubble": (0.5, 0.5, 0.6, -0.1),  # of gas in the stomach
    "breast": (-0.1, 0.5, 0.0, 0.0),
    "exposure": (0.0, 0.13, 0.16, 0.0),
}
_ONE_SIDED = (.6, 0, .6, .2, 1, 1, .8, .95, .85, 0, 0, .1, .75, 0)  # fmt: skip  # chance, in the order of FINDINGS
_LEAST = 0.35  # severity of the mildest case; the most severe has 1


def draw(
    *,
    patients: int,
    image_size: int = 128,  # pixels on a side, 16 to 256
    rng: np.random.Generator,
    site: str = "hospital_a",  # one of SITES
    splits: Sequence[float] = SPLITS,  # proportions of train, validation and test
    radiographs: float = 2.0,  # of each patient, on average
    findings: Sequence[str] = FINDINGS,  # those drawn and labelled
    prevalence: Mapping[str, float] | None = None,  # of some findings, instead of the hospital's
    correlation: np.ndarray | None = None,  # (K, K) of the latents of `findings`, instead of NIH's
) -> Cohort:
    """Draw the radiographs of `patients` patients of one hospital, on average `radiographs` of each (1 + Poisson).

    `images` are uint8 (N, image_size, image_size), with image_size from 16 to 256. `labels` are (N, K), 0 or 1, with a
    column for each of `findings`; no other finding is drawn. `site` is an index of SITES; `view` is 0 PA, 1 AP; `split`
    is disjoint by patient, in the proportions `splits` of train, validation and test; `source_name` names the patient
    and the radiograph.
    prevalence: prevalences of some findings that replace those of the hospital. correlation: (K, K), that of the
    Gaussian copula that couples `findings`; by default that of NIH's labels. PERSISTENCE is the correlation of the
    latents of two radiographs of a patient. The same state of `rng` gives the same patients at every size and in every
    hospital, as long as prevalences are equal.

    Raises ValueError for an unknown site or finding, a size out of range, fewer patients than splits, fewer radiographs
    than one per patient, a prevalence outside (0, 1), and a matrix that is not a correlation.
    """
    if not isinstance(patients, (int, np.integer)) or patients < 1:
        raise ValueError(f"patients is {patients!r}; give a whole number from 1")
    if not isinstance(image_size, (int, np.integer)) or not SIZES[0] <= image_size <= SIZES[1]:
        raise ValueError(f"image_size is {image_size!r}; give a whole number from {SIZES[0]} to {SIZES[1]}")
    if site not in SITES:
        raise ValueError(f"unknown site {site!r}: choose one of {', '.join(SITES)}")
    if not np.isfinite(radiographs) or radiographs < 1:
        raise ValueError(f"radiographs is {radiographs}; give the mean number a patient, at least 1")
    findings = tuple(findings)
    shares, mix = prevalences(site, findings, prevalence), _correlation(findings, correlation)
    split = split_codes(patients, splits, rng)
    owner = np.repeat(np.arange(patients), 1 + rng.poisson(radiographs - 1, patients))
    severity = _severity(owner, shares, mix, [FINDINGS.index(name) for name in findings], rng)
    style = dict(zip(_STYLES, _STYLE[site], strict=True))
    truth = _anatomy(owner, severity, style, rng)
    order = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return Cohort(
        thorax.render(truth, image_size),
        owner,
        severity[:, [FINDINGS.index(f) for f in findings]] > 0,
        split[owner],
        site=np.full(len(owner), SITES.index(site)),
        view=truth["view"],
        label_names=findings,
        source_name=[f"{site}_patient{p}_radiograph{i}" for p, i in zip(owner, order, strict=True)],
        name=f"phantom_chest_{site}",
        modality="CR",
        licence="CC0-1.0 (drawn, no patient)",
        source="drawn by lib.cohorts.phantoms.chest",
    )


def prevalences(site: str, findings: Sequence[str] = FINDINGS, other: Mapping[str, float] | None = None) -> np.ndarray:
    """The prevalence (K,) of each of `findings` at a hospital; values in `other` replace those of the hospital.

    Raises ValueError for an unknown site, an unknown, repeated or absent finding, and a prevalence outside (0, 1).
    """
    other = dict(other or {})
    if site not in SITES:
        raise ValueError(f"unknown site {site!r}: choose one of {', '.join(SITES)}")
    for name in (*findings, *other):
        if name not in FINDINGS:
            raise ValueError(f"unknown finding {name!r}: known are {', '.join(FINDINGS)}")
    if not findings or len(set(findings)) < len(findings):
        raise ValueError(f"findings are {', '.join(findings) or 'none'}; give one at least, each once")
    for name, share in other.items():
        if name not in findings:
            raise ValueError(f"prevalence is given for {name}, which is not in findings; add it there")
        if not 0 < share < 1:
            raise ValueError(f"prevalence of {name} is {share}; give a share between 0 and 1")
    return np.array([other.get(name, _PREVALENCE[site][FINDINGS.index(name)]) for name in findings])


def _correlation(findings: tuple[str, ...], given: np.ndarray | None) -> np.ndarray:
    """The latent correlation (K, K) of `findings`."""
    if given is None:
        full = np.eye(len(FINDINGS))
        for row, values in enumerate(_TETRACHORIC):
            full[row, :row] = full[:row, row] = values
        columns = [FINDINGS.index(name) for name in findings]
        return full[np.ix_(columns, columns)]
    given, k = np.asarray(given, float), len(findings)
    fit = given.shape == (k, k) and np.isfinite(given).all() and np.allclose(given, given.T)
    if not fit or not np.allclose(np.diag(given), 1) or np.linalg.eigvalsh(given)[0] < 1e-9:
        problem = f"correlation is no positive-definite correlation matrix of {k} findings"
        raise ValueError(f"{problem}; give a symmetric ({k}, {k}) matrix with ones on its diagonal")
    return given


def _severity(owner, shares, correlation, columns, rng) -> np.ndarray:
    """The severity (N, 14) of each finding on each radiograph, from the tail of a Gaussian copula; 0 if absent."""
    draws = (rng.standard_normal((owner[-1] + 1, len(FINDINGS)))[owner], rng.standard_normal((len(owner), 14)))
    latent = np.sqrt(PERSISTENCE) * draws[0] + np.sqrt(1 - PERSISTENCE) * draws[1]
    latent = latent[:, columns] @ np.linalg.cholesky(correlation).T
    excess = 1 - ndtr(-latent) / shares  # uniform on (0, 1) among those with the finding
    severity = np.zeros((len(owner), len(FINDINGS)))
    severity[:, columns] = np.where(latent > ndtri(1 - shares), _LEAST + (1 - _LEAST) * np.clip(excess, 0, 1), 0)
    return severity


def _anatomy(owner: np.ndarray, severity: np.ndarray, style: Mapping[str, float], rng: np.random.Generator):
    """Everything random except the fields, one row for each radiograph, and the style of its hospital."""
    p, n = owner[-1] + 1, len(owner)
    normal, uniform = rng.standard_normal, rng.uniform
    view = (uniform(size=n) < style["ap"]).astype(np.int64)
    truth: dict[str, np.ndarray] = {"view": view, "key": rng.integers(0, 2**63, n)}
    for name, (median, between, within, ap) in (_FACTORS | _SUMS).items():
        z = between * normal(p)[owner] + within * normal(n)
        truth[name] = median * np.exp(z) * ap**view if name in _FACTORS else median + z + ap * view
    # A finding is more severe on one side, or only on that side; the side and the places are those of the patient.
    first, alone = uniform(size=(p, 14)) < 0.5, uniform(size=(p, 14)) < np.array(_ONE_SIDED)
    other = np.where(alone, 0, np.where(np.array(_ONE_SIDED) > 0, 0.65, 1))
    for i, name in enumerate(FINDINGS):
        pair = np.stack([np.where(first[:, i], 1, other[:, i]), np.where(first[:, i], other[:, i], 1)], 1)
        truth[name] = severity[:, i, None] * pair[owner]
    places = {"mass": 1, "nodule": 3, "patch": 1}
    for name, k in places.items():
        at = np.stack([uniform(0.38, 0.74, (p, k)), uniform(0.24, 0.80, (p, k))], -1)
        truth[f"{name}_at"] = at[owner] + 0.015 * normal((n, k, 2))
    truth["nodule_size"] = np.exp(0.25 * normal((p, 3)))[owner] * np.c_[np.ones(p), uniform(size=(p, 2)) < 0.35][owner]
    truth["pouch"] = np.c_[0.07 + 0.05 * normal(p), 0.90 + 0.03 * normal(p), np.exp(0.15 * normal(p))][owner]
    truth["lobe"] = rng.integers(0, 2, p)[owner]  # upper, lower
    truth["plate"] = np.c_[uniform(0.10, 0.2, p), uniform(0.06, 0.12, p), 0.15 * normal((p, 2))][owner]
    truth["vessel"], truth["vessel_wide"] = (x[owner] for x in _tree(p, rng))
    truth["bar"] = (uniform(size=n) < style["barred"]) * uniform(0.04, 0.12, n)
    truth["line"], truth["line_shine"] = _hardware(n, view, style, rng)
    for name in ("contrast", "bright", "gamma", "noise", "blur"):
        truth[name] = np.full(n, style[name])
    return truth


def _tree(p: int, rng: np.random.Generator):
    """Vessels of both lungs as curves of three control points (p, S, 3, 2), and their widths at both ends (p, S, 2)."""
    normal, uniform, trunks, twigs = rng.standard_normal, rng.uniform, 10, 3
    turn = np.linspace(-1.35, 1.45, trunks) + 0.13 * normal((p, 2, trunks))
    long = (0.50 + 0.16 * np.sin(turn).clip(0) - 0.1 * np.sin(-turn).clip(0)) * np.exp(0.15 * normal((p, 2, trunks)))
    hilum = np.array([0.20, 0.46]) + 0.02 * normal((p, 2, trunks, 2))
    hilum[:, 1, :, 1] -= 0.03  # the left hilum is higher
    hilum[..., 1] += 0.06 * np.sin(turn)

    def curve(start, turn, long, bend):
        end = start + long[..., None] * np.stack([np.cos(turn), 0.66 * np.sin(turn)], -1)
        middle = (start + end) / 2 + (bend * long)[..., None] * np.stack([-np.sin(turn), 0.66 * np.cos(turn)], -1)
        return np.stack([start, middle, end], -2)

    trunk = curve(hilum, turn, long, 0.16 * normal(turn.shape))
    at = uniform(0.25, 0.7, (*turn.shape, twigs))[..., None]
    a, b, c = (trunk[..., None, i, :] for i in range(3))
    fork = (1 - at) ** 2 * a + 2 * at * (1 - at) * b + at**2 * c
    away = turn[..., None] + np.array([-1, 1, -1]) * uniform(0.3, 0.8, (*turn.shape, twigs))
    twig = curve(fork, away, long[..., None] * uniform(0.35, 0.65, away.shape), 0.15 * normal(away.shape))
    wide = np.exp(0.2 * normal((p, 2, trunks * (1 + twigs)))) * np.repeat([0.021, 0.013], [trunks, trunks * twigs])
    tree = np.concatenate([trunk, twig.reshape(p, 2, -1, 3, 2)], 2)
    tree[:, 0, ..., 0] *= -1
    return tree.reshape(p, -1, 3, 2), np.stack([wide, np.maximum(0.25 * wide, 0.004)], -1).reshape(p, -1, 2)


# Control points (u, v) of lines, tubes and leads, of which the last five are leads.
_LINES = np.array([
    [[-0.95, -0.05], [-0.25, -0.02], [-0.10, 0.44]], [[0.02, -0.4], [-0.02, 0.2], [0.12, 1.30]],
    [[-0.02, -0.4], [0.0, 0.1], [0.01, 0.27]], [[0.03, -0.4], [0.05, 0.1], [0.04, 0.27]],
    [[-0.70, 0.12], [-0.45, 0.5], [-0.2, 1.6]], [[0.72, 0.10], [0.5, 0.5], [0.25, 1.6]],
    [[-0.75, 0.80], [-0.5, 1.0], [-0.3, 1.6]], [[0.78, 0.85], [0.6, 1.0], [0.3, 1.6]],
    [[0.35, 0.62], [0.7, 0.9], [1.3, 0.8]],
])  # fmt: skip
# The letters R and L as curves, to the right of and below their centre, in heights of a letter.
_LETTERS = np.array([
    [[[-.3, -.5], [-.3, 0], [-.3, .5]], [[-.3, -.5], [.7, -.25], [-.3, 0]], [[-.3, 0], [0, .2], [.35, .5]]],
    [[[-.3, -.5], [-.3, 0], [-.3, .5]], [[-.3, .5], [0, .5], [.35, .5]], [[-.3, .5], [0, .5], [.35, .5]]],
])  # fmt: skip


def _hardware(n: int, view: np.ndarray, style: Mapping[str, float], rng: np.random.Generator):
    """Curves (n, 12, 3, 2), of lines in (u, v) and of a letter in parts of the radiograph, and brightness (n, 12)."""
    k = len(_LINES)
    line = _LINES + np.array([0.05, 0.03, 0.05])[:, None] * rng.standard_normal((n, k, 3, 2))
    line[:, 3] = line[:, 2] + [0.05, 0.0]  # the two walls of one tube
    chance = style["lined"] * np.where(view, 1.0, 0.4)[:, None] * np.r_[0.8, 0.5, 0.35, 0.35, np.full(k - 4, 0.9)]
    luck = rng.uniform(size=(n, k))
    luck[:, 3] = luck[:, 2]
    luck[:, 4:] = 0.3 * luck[:, 4:] + 0.7 * luck[:, 4:5]  # leads tend to occur together
    shine = (luck < chance) * np.r_[1.1, 0.8, 0.5, 0.5, np.full(k - 4, 1.2)] * rng.uniform(0.7, 1.3, (n, k))
    left = rng.uniform(size=n) < 0.75
    edge = style["marker_x"] + 0.015 * rng.standard_normal(n)
    centre = np.stack([np.where(left, 1 - edge, edge), style["marker_y"] + 0.03 * rng.standard_normal(n)], -1)
    letter = centre[:, None, None] + 0.045 * _LETTERS[left.astype(int)]
    marked = (rng.uniform(size=n) < style["marked"])[:, None] * np.full(3, 4.0)
    return np.concatenate([line, letter], 1), np.concatenate([shine, marked], 1)
