"""Chest radiographs as cases: patients with several radiographs, one finding, and lung fields as the evidence.

Patients with few radiographs in `nih_cxr14` are left out, so that each identity can be recognised.

Confounds, measured on nih_cxr14_1000 (500 radiographs without finding, 500 with Pneumonia) for the finding Pneumonia
and at least 3 radiographs of each patient (67 patients, 288 radiographs, 42 % with Pneumonia):

- Identity predicts disease. Only 10 of the 67 patients have radiographs of both kinds, and the more frequent kind of
  each patient is right for 94.8 % of the radiographs. None of the 500 other radiographs has any other finding, so the
  contrast is disease against health, and not Pneumonia against other diseases.
- View predicts disease. 70 % of the radiographs with Pneumonia are AP, and 95 % of those without (phi -.34). 51 of the
  patients have one view only, so view also predicts identity.
- There are few radiographs of each identity: 4.3 on average, 1 to 9 of them in train. The nearest radiograph in train,
  by correlation of pixels, is of the same patient for 17 % of the test radiographs, and for 15 % by the pixels within
  the masks (chance 1.5 %). With at least 6 radiographs of each of 10 patients, these are 29 % and 50 % of 14 test
  radiographs.

Infiltration varies most within patients: 22 of the 67 have radiographs of both kinds (16 %, phi with AP -.20).
"""

import numpy as np

from lib.cohorts import lung_segmentation
from lib.cohorts.cohort import Cohort
from lib.cohorts.splits import split_within


def cases(radiographs: Cohort, *, finding: str = "Pneumonia", fewest: int = 3, image_size: int = 64) -> Cohort:
    """The radiographs of patients with at least `fewest` radiographs, with one finding and masks of their lungs.

    radiographs: as `lib.cohorts.public.nih_cxr14` or `nih_followup` prepares them. In the result, `images` are uint8
    (N, image_size, image_size); `patient` counts from 0 in the order of the patients' numbers; `labels` are 0 without
    and 1 with `finding`; `view` is 0 PA, 1 AP; `masks` are by `lib.cohorts.lung_segmentation`, and `made_by` says how
    many lungs it did not see; `split` is by `splits.split_within`, so that each patient is in every split;
    `source_name` is the file name of the radiograph. Raises ValueError for an unknown finding, `fewest` below three, no
    patient with enough radiographs, radiographs of one kind only, and a size that does not divide that of the
    radiographs.
    """
    if finding not in radiographs.label_names or radiographs.labels.ndim != 2:
        raise ValueError(f"unknown finding {finding!r}: choose one of {', '.join(radiographs.label_names)}")
    if not isinstance(fewest, (int, np.integer)) or fewest < 3:
        raise ValueError(f"fewest is {fewest!r}; three splits need at least 3 radiographs of each patient")
    _, owner, counts = np.unique(radiographs.patient, return_inverse=True, return_counts=True)
    if counts.max() < fewest:
        raise ValueError(
            f"{radiographs.name}: no patient has {fewest} radiographs, the most is {counts.max()}; lower fewest"
        )
    kept = radiographs[counts[owner] >= fewest].resized(image_size)
    ill = kept.labels[:, radiographs.label_names.index(finding)]
    if ill.min() == ill.max():
        raise ValueError(
            f"{radiographs.name}: all radiographs kept are alike in {finding}; choose another finding, or lower fewest"
        )
    images = kept.images[:]
    lungs = lung_segmentation.segmented(images)
    return Cohort(
        images,
        np.unique(kept.patient, return_inverse=True)[1],
        ill,
        split_within(kept.patient, name="nih_cases"),
        view=kept.view,
        source_name=kept.source_name,
        masks=lungs.masks,
        made_by=f"lungs by lib.cohorts.lung_segmentation, {(~lungs.found).sum()} of {lungs.found.size} by an ellipse",
        closed_set=True,
        name="nih_cases",
        modality=kept.modality,
        label_names=(f"no {finding}", finding),
        value_range=kept.value_range,
        licence=kept.licence,
        source=f"{kept.source}; patients with at least {fewest} radiographs",
    )


def lung_fields(size: int) -> np.ndarray:
    """Two ellipses where the lungs lie on most frontal radiographs: (size, size) uint8, 1 inside.

    They are fixed, so the mask holds no information on a patient. It is not a segmentation: hearts reach into it, and
    lungs reach out of it.
    """
    both = [lung_segmentation.inside(ellipse, size) for ellipse in lung_segmentation.ELLIPSES]
    return np.logical_or(*both).astype(np.uint8)
