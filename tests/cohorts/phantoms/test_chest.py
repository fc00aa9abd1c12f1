"""The chest phantom: labels follow the copula asked for, findings stand where they should, hospitals differ."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from lib.cohorts.phantoms import chest
from lib.cohorts.phantoms import chest_rendering as thorax
from lib.cohorts.public import nih_cxr14

FIVE = ("Cardiomegaly", "Effusion", "Pneumothorax", "Edema", "Consolidation")


def draw(seed=0, **arguments):
    return chest.draw(**({"patients": 40, "image_size": 32} | arguments), rng=np.random.default_rng(seed))


def anatomy(seed=0, radiographs=8, site="hospital_a", **severity):
    """What is known of one radiograph each of `radiographs` patients, all with the same severities."""
    table = np.zeros((radiographs, 14))
    for name, value in severity.items():
        table[:, chest.FINDINGS.index(name)] = value
    style = dict(zip(chest._STYLES, chest._STYLE[site], strict=True))
    return chest._anatomy(np.arange(radiographs), table, style, np.random.default_rng(seed))


def labels(patients, prevalence, *, radiographs=1, correlation=None, names=chest.FINDINGS, seed=0):
    owner = np.repeat(np.arange(patients), radiographs)
    mix, columns = chest._correlation(names, correlation), [chest.FINDINGS.index(name) for name in names]
    drawn = chest._severity(owner, np.asarray(prevalence), mix, columns, np.random.default_rng(seed))
    return drawn[:, columns] > 0


def both(r):
    """Chance that two standard normals of correlation r are both positive (Sheppard)."""
    return 0.25 + np.arcsin(r) / (2 * np.pi)


@pytest.fixture(scope="module")
def many():
    return draw(patients=260, prevalence=dict.fromkeys(FIVE, 0.25), findings=FIVE)


@pytest.mark.slow
def test_what_is_known_of_each_radiograph(many):
    assert many.images.shape == (len(many), 32, 32)
    assert many.images.dtype == np.uint8
    assert many.labels.shape == (len(many), 5)
    assert many.label_names == FIVE
    assert set(np.unique(many.labels)) == set(np.unique(many.view)) == {0, 1}
    assert (many.site == 0).all()
    assert len(set(many.source_name)) == len(many)
    assert many.source_name[0] == "hospital_a_patient0_radiograph0"
    assert 1.8 < np.bincount(many.patient).mean() < 2.2
    assert np.bincount(many.patient).min() == 1
    assert "no patient" in many.licence
    assert chest.FINDINGS == nih_cxr14.FINDINGS
    assert chest.VIEWS == nih_cxr14.VIEWS
    assert draw(patients=5).label_names == chest.FINDINGS


@pytest.mark.slow
def test_the_same_seed_draws_the_same_bytes_and_another_does_not():
    assert draw().digest == draw().digest
    assert not np.array_equal(draw(radiographs=1).images, draw(seed=1, radiographs=1).images)


@pytest.mark.parametrize("size", [16, 33])
def test_chunks_change_no_byte(size):
    truth = anatomy(site="hospital_b", **dict.fromkeys(chest.FINDINGS, 0.7))
    whole = thorax.render(truth, size, 8)
    for chunk in (1, 3):
        np.testing.assert_array_equal(thorax.render(truth, size, chunk), whole)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_small_radiograph_shows_the_patient_of_the_large_one(size):
    truth = anatomy(radiographs=4)
    large = thorax.render(truth, 256).reshape(4, size, 256 // size, size, -1).mean((2, 4))
    small = thorax.render(truth, size)
    assert abs(small - large).mean() < 4
    for one, other in zip(small, large, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98


@pytest.mark.slow
def test_splits_are_disjoint_by_patient_in_the_proportions_asked_for():
    cohort = draw(patients=100, image_size=16, splits=(60, 15, 25))
    patients = [set(cohort.subset(name).patient) for name in ("train", "validation", "test")]
    assert [len(part) for part in patients] == [60, 15, 25]
    assert len(set.union(*patients)) == 100
    assert set(draw(patients=3, image_size=16).split) == {0, 1, 2}
    assert set(draw(splits=(0, 0, 1), image_size=16).split) == {2}


@pytest.mark.parametrize("site", chest.SITES)
def test_prevalence_is_that_of_the_hospital(site):
    expected = chest.prevalences(site)
    seen = labels(40_000, expected).mean(0)
    assert (abs(seen - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 40_000)).all()
    np.testing.assert_allclose(chest.prevalences(site, FIVE, {"Edema": 0.4})[3], 0.4)
    assert chest.prevalences("hospital_a").sum() < chest.prevalences("hospital_c").sum() < 2
    assert chest.prevalences("hospital_b").sum() > 1.5


def test_findings_occur_together_as_in_the_nih_labels():
    phi = np.corrcoef(labels(150_000, chest.prevalences("hospital_a")).T)
    # Of 112,120 radiographs, labels of 2020.
    published = {
        ("Emphysema", "Pneumothorax"): 0.1782, ("Pneumonia", "Edema"): 0.1740, ("Atelectasis", "Effusion"): 0.1724,
        ("Cardiomegaly", "Effusion"): 0.1301, ("Effusion", "Infiltration"): 0.1181, ("Mass", "Nodule"): 0.1013,
        ("Atelectasis", "Consolidation"): 0.1089, ("Fibrosis", "Pleural_Thickening"): 0.0536,
        ("Pneumothorax", "Edema"): -0.0225, ("Cardiomegaly", "Pneumothorax"): -0.0222, ("Mass", "Pneumonia"): -0.0010,
    }  # fmt: skip
    for (one, other), value in published.items():
        assert phi[chest.FINDINGS.index(one), chest.FINDINGS.index(other)] == pytest.approx(value, abs=0.012)


def test_the_copula_has_the_correlation_asked_for():
    mix = np.array([[1, 0.6, -0.3], [0.6, 1, 0.1], [-0.3, 0.1, 1]])
    seen = labels(60_000, [0.5] * 3, names=FIVE[:3], correlation=mix).astype(float)
    np.testing.assert_allclose(seen.T @ seen / len(seen), both(np.clip(mix, -1, 1)), atol=0.01)


def test_findings_last_from_radiograph_to_radiograph_of_a_patient():
    seen = labels(40_000, [0.5] * 14, radiographs=2).reshape(-1, 2, 14)
    np.testing.assert_allclose((seen[:, 0] & seen[:, 1]).mean(0), both(chest.PERSISTENCE), atol=0.012)


def test_the_anatomy_is_where_it_should_be():
    truth = anatomy(radiographs=60)
    radiographs = thorax.render(truth, 64).astype(float)

    def grey(u, v):
        column = (truth["centre"] + u * truth["wide"]) * 64
        row = (truth["top"] + v * truth["high"]) * 64
        return radiographs[np.arange(60), row.astype(int), column.astype(int)].mean()

    lungs = [grey(u, v) for u in (-0.55, 0.62) for v in (0.3, 0.55)]
    assert max(lungs) + 50 < min(grey(0, 0.6), grey(0.3, 0.8), grey(-0.4, 1.2), grey(0.4, 1.25))
    assert grey(0.38, 0.82) > grey(-0.38, 0.82) + 40  # the heart lies to the patient's left
    assert grey(0.5, 1.03) + 15 < grey(-0.5, 1.03)  # the right dome stands higher
    assert grey(0, 0.1) < grey(0.13, 0.1)  # the windpipe is dark
    assert radiographs[:, 0, 0].mean() < 30  # air above the shoulders
    assert 125 < radiographs.mean() < 165
    assert 10 < radiographs.mean((1, 2)).std() < 35


@pytest.mark.slow
def test_a_radiograph_of_one_patient_is_nearer_to_another_of_the_same():
    cohort = draw(patients=60, radiographs=3.0)
    x = cohort.images.reshape(len(cohort), -1).astype(float)
    distance = np.linalg.norm(x[:, None] - x, axis=-1)
    same, self = cohort.patient[:, None] == cohort.patient, np.eye(len(cohort), dtype=bool)
    assert np.median(distance[same & ~self]) < 0.85 * np.median(distance[~same])


# Of each finding: where most of the change lies, in |u| and v, and the mean change of grey there must be at least.
WHERE = {
    "Atelectasis": (0.0, 1.0, 0.60, 1.35, 3), "Cardiomegaly": (0.0, 1.0, 0.35, 1.2, 4),
    "Effusion": (0.0, 1.1, 0.4, 1.4, 8), "Infiltration": (0.1, 1.05, 0.0, 1.2, 4), "Mass": (0.1, 1.0, 0.0, 1.05, 2),
    "Nodule": (0.2, 0.9, 0.1, 0.95, 0.4), "Pneumonia": (0.1, 1.0, 0.1, 1.05, 3),
    "Pneumothorax": (0.0, 1.1, -0.1, 1.2, None), "Consolidation": (0.1, 1.05, 0.0, 1.15, 5),
    "Edema": (0.0, 0.95, 0.05, 1.1, 8), "Emphysema": (0.0, 1.1, -0.1, 1.45, -8), "Fibrosis": (0.0, 1.1, 0.1, 1.3, 3),
    "Pleural_Thickening": (0.25, 1.1, -0.1, 1.3, 4), "Hernia": (0.0, 0.5, 0.6, 1.2, None),
}  # fmt: skip


def with_and_without(name, severity=0.8, radiographs=12, size=64):
    """Change of grey (n, size, size) that a finding makes, all else equal, and |u|, v and the side of each pixel."""
    truth = anatomy(radiographs=radiographs, **{name: severity})
    change = thorax.render(truth, size).astype(float) - thorax.render(anatomy(radiographs=radiographs), size)
    at = (np.arange(size) + 0.5) / size
    u = np.broadcast_to(((at - truth["centre"][:, None]) / truth["wide"][:, None])[:, None], change.shape)
    v = np.broadcast_to(((at - truth["top"][:, None]) / truth["high"][:, None])[..., None], change.shape)
    return truth, change, u, v


@pytest.mark.slow
@pytest.mark.parametrize("name", chest.FINDINGS)
def test_a_finding_changes_the_radiograph_where_it_should(name):
    _, change, u, v = with_and_without(name)
    nearest, farthest, top, bottom, least = WHERE[name]
    inside = (abs(u) >= nearest) & (abs(u) <= farthest) & (v >= top) & (v <= bottom)
    pushed = abs(u) < 0.35 if name in ("Atelectasis", "Effusion", "Pneumothorax") else inside  # the mediastinum
    size = abs(change) * (abs(change) > 3)
    assert ((size > 0).sum((1, 2)) >= 8).all()
    assert (size * (inside | pushed)).sum() > 0.85 * size.sum()
    if least is not None:
        mean = np.array([c[i].mean() for c, i in zip(change, inside, strict=True)])
        assert (mean * np.sign(least) > 0).mean() > 0.85
        assert abs(mean.mean()) >= abs(least)


def test_a_graver_case_changes_more():
    for name in chest.FINDINGS:
        mild, grave = (abs(with_and_without(name, s, radiographs=8, size=32)[1]).sum((1, 2)) for s in (0.35, 1.0))
        assert (grave > mild).all(), name


def test_a_pneumothorax_is_dark_at_the_wall_and_its_lung_is_not():
    truth, change, u, v = with_and_without("Pneumothorax")
    side = np.sign(truth["Pneumothorax"][:, 1] - truth["Pneumothorax"][:, 0])[:, None, None]
    one = (side != 0) & (u * side > 0) & (v > 0.3) & (v < 0.6)
    assert change[one & (abs(u) > 0.75) & (abs(u) < 0.85)].mean() < -12
    assert change[one & (abs(u) > 0.3) & (abs(u) < 0.4)].mean() > 5


def test_a_hernia_has_gas_above_fluid_and_plates_lie_across():
    truth, change, u, v = with_and_without("Hernia")
    place, height = (truth["pouch"][:, i, None, None] for i in (0, 1))
    middle = abs(u - place) < 0.1
    assert change[middle & (abs(v - height + 0.05) < 0.03)].mean() < -10
    assert change[middle & (abs(v - height - 0.08) < 0.03)].mean() > 3


def test_edema_takes_both_sides_and_most_other_findings_one():
    _, change, u, _ = with_and_without("Edema")
    right, left = (np.where(np.sign(u) == side, change, 0).sum((1, 2)) for side in (-1, 1))
    assert (np.minimum(right, left) > 0.5 * np.maximum(right, left)).all()
    pair = anatomy(radiographs=400, Mass=0.5, Effusion=0.5)
    assert (pair["Mass"].min(1) == 0).all()
    assert 0.5 < (pair["Effusion"].min(1) == 0).mean() < 0.7


def test_only_findings_asked_for_are_drawn():
    truth = anatomy()
    assert not any(truth[name].any() for name in chest.FINDINGS)
    rare = draw(findings=("Hernia",), prevalence={"Hernia": 0.5}, patients=60)
    assert rare.labels.shape == (len(rare), 1)
    assert 0.3 < rare.labels.mean() < 0.7


@pytest.mark.slow
def test_hospitals_share_patients_but_not_their_style():
    share = dict.fromkeys(chest.FINDINGS, 0.1)
    a, b, c = (draw(patients=120, site=site, prevalence=share) for site in chest.SITES)
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.patient, c.patient)
    assert [set(x.site) for x in (a, b, c)] == [{0}, {1}, {2}]
    assert a.view.mean() < 0.25 < c.view.mean() < 0.65 < b.view.mean()
    barred = [(x.images[:, 0].max(1) < 3).mean() for x in (a, b, c)]
    assert barred[1] > 0.7 > 0.3 > max(barred[0], barred[2])
    x = np.concatenate([a.images, b.images])[:, 6:26, 6:26].reshape(2 * len(a), -1) / 255.0  # bars cut away
    y, learn = np.repeat([0, 1], len(a)), np.tile(a.split == 0, 2)
    model = make_pipeline(PCA(20), LogisticRegression(max_iter=500)).fit(x[learn], y[learn])
    assert roc_auc_score(y[~learn], model.predict_proba(x[~learn])[:, 1]) > 0.9


def test_lines_leads_and_a_marker_are_seen_at_hospital_b():
    truth = anatomy(site="hospital_b", radiographs=40)
    bare = truth | {"line_shine": np.zeros_like(truth["line_shine"])}
    added = thorax.render(truth, 64).astype(int) - thorax.render(bare, 64)
    seen = (added > 12).sum((1, 2))
    assert 0.3 < (seen > 25).mean() < 0.9
    assert (anatomy(radiographs=200)["line_shine"][:, :9] > 0).any(1).mean() < 0.2


@pytest.mark.slow
def test_five_findings_can_be_learnt_from_400_small_radiographs(many):
    x = many.images.reshape(len(many), -1) / 255.0
    learn = np.arange(len(many)) < 400
    auc = []
    for column in many.labels.T:
        model = make_pipeline(PCA(50), LogisticRegression(C=0.05, max_iter=500)).fit(x[learn], column[learn])
        auc.append(roc_auc_score(column[~learn], model.decision_function(x[~learn])))
    assert np.mean(auc) > 0.72
    assert max(auc) < 0.995


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"patients": 0}, "patients is 0; give a whole number from 1"),
        ({"patients": 6.5}, "patients is 6.5"),
        ({"patients": 2}, "patients is 2; 3 splits need at least as many"),
        ({"image_size": 8}, "image_size is 8; give a whole number from 16 to 256"),
        ({"image_size": 512}, "image_size is 512"),
        ({"image_size": 64.5}, "image_size is 64.5"),
        ({"site": "nih"}, "unknown site 'nih': choose one of hospital_a, hospital_b"),
        ({"findings": ("Oedema",)}, "unknown finding 'Oedema': known are Atelectasis"),
        ({"findings": ()}, "findings are none; give one at least"),
        ({"findings": ("Mass", "Mass")}, "findings are Mass, Mass; give one at least, each once"),
        ({"findings": ("Mass",), "prevalence": {"Edema": 0.1}}, "given for Edema, which is not in findings"),
        ({"prevalence": {"Edema": 0}}, "prevalence of Edema is 0; give a share between 0 and 1"),
        ({"prevalence": {"Edema": float("nan")}}, "prevalence of Edema is nan"),
        ({"prevalence": {"Fracture": 0.1}}, "unknown finding 'Fracture'"),
        ({"correlation": np.eye(3)}, "no positive-definite correlation matrix of 14 findings"),
        ({"findings": ("Mass", "Edema"), "correlation": np.array([[1, 2], [2, 1]])}, "positive-definite"),
        ({"radiographs": 0.5}, "radiographs is 0.5; give the mean number a patient, at least 1"),
        ({"radiographs": float("nan")}, "radiographs is nan"),
        ({"splits": (1, 1)}, "give three proportions"),
        ({"splits": (0, 0, 0)}, "not all 0"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        draw(**wrong)
    assert "\n" not in str(caught.value)
