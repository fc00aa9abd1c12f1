"""What a paper asks of a user's cohort: the entry `own` of its paper.yaml.

    own: {size: image_size, labels: two classes, patients: 60, parts: {cbis_ddsm: first hospital, bcdr: other hospital}}

`parts` says which part of the cohort stands for each set that the notebooks open by name (`lib.cohorts.own`); what a
cohort lacks for it, `lib.cohorts.serving`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PARTS = Literal["whole", "first hospital", "second hospital", "other hospital", "most people", "other people"]


class Needs(BaseModel):
    """The entry `own` of a paper.yaml.

    size: the setting that holds the pixels a side which images are brought to. parts: by the name of a set that the
    notebooks open, what stands for it; another hospital is used whole, whatever its splits, and nothing is trained on
    other people, who are for the audit of a release. labels: "two classes", "classes", "findings", or "three regions",
    which are the column region or, without it, classes. finding: the setting that names one of several findings.
    patients: how many at least, and of most people too. images: how many at least, of those that are trained on and of
    the others each. positives: the setting that says how many images outside the test set, and a third of it inside,
    must have one finding at least. slices: channels of an image, 1 for grey; colour: whether three may be, too. masks:
    whether the evidence has to be marked; on radiographs the lungs are. within: whether every patient is in every
    split, with three images or more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: str
    parts: dict[str, PARTS]
    labels: Literal["two classes", "classes", "findings", "three regions"]
    finding: str = ""
    patients: int = Field(ge=1)
    images: int = Field(default=1, ge=1)
    positives: str = ""
    slices: int = Field(default=1, ge=1)
    colour: bool = False
    masks: bool = False
    within: bool = False
