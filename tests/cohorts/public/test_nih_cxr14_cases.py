"""Cases of NIH ChestX-ray14: patients with several radiographs, and the lung fields of theirs."""

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import nih_cxr14_cases as nih_cases
from lib.cohorts.public.nih_cxr14 import FINDINGS


@pytest.fixture
def radiographs():
    """Patients 50, 40, 30, 20 with 6, 4, 2 and 1 radiographs; Pneumonia on every other."""
    patients = np.repeat([50, 40, 30, 20], [6, 4, 2, 1])
    dis = np.zeros((13, len(FINDINGS)), np.int64)
    dis[::2, FINDINGS.index("Pneumonia")] = 1
    images = np.random.default_rng(0).integers(0, 256, (13, 128, 128), dtype=np.uint8)
    facts = {"name": "nih_cxr14_1000", "label_names": FINDINGS, "licence": "NIH", "source": "here"}
    return Cohort(
        images, patients, dis, np.zeros(13), view=dis[:, 0], source_name=[f"radiograph{i}" for i in range(13)], **facts
    )


def test_radiographs_of_patients_with_several_are_cases(radiographs):
    cases = nih_cases.cases(radiographs)
    assert cases.images.shape == cases.masks.shape == (10, 64, 64)
    np.testing.assert_array_equal(cases.patient, [1] * 6 + [0] * 4)
    np.testing.assert_array_equal(cases.labels, np.tile([1, 0], 5))
    np.testing.assert_array_equal(cases.source_name, radiographs.source_name[:10])
    np.testing.assert_array_equal(cases.images, radiographs[:10].resized(64).images)
    assert (cases.label_names, cases.licence, cases.closed_set) == (("no Pneumonia", "Pneumonia"), "NIH", True)
    for patient in (0, 1):
        assert set(cases.split[cases.patient == patient]) == {0, 1, 2}
    assert set(nih_cases.cases(radiographs, fewest=5).patient) == {0}


def test_lung_fields_are_two_and_alike_at_every_size():
    large, small = nih_cases.lung_fields(256), nih_cases.lung_fields(64)
    assert large.mean() == pytest.approx(2 * np.pi * 0.145 * 0.28, abs=0.002)
    assert small.mean() == pytest.approx(large.mean(), abs=0.004)
    assert not large[:, 124:134].any()
    assert large[110, 86] == large[110, 175] == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"finding": "pneumonia"}, "unknown finding 'pneumonia': choose one of Atelectasis"),
        ({"fewest": 2}, "fewest is 2; three splits need at least 3 radiographs of each patient"),
        ({"fewest": 7}, "no patient has 7 radiographs, the most is 6; lower fewest"),
        ({"finding": "Mass"}, "all radiographs kept are alike in Mass; choose another finding"),
        ({"image_size": 60}, "cannot be box-averaged to 60"),
    ],
)
def test_bad_arguments_of_cases_are_refused(radiographs, wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        nih_cases.cases(radiographs, **wrong)
    assert "\n" not in str(caught.value)
