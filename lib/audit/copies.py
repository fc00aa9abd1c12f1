"""The copy test of a synthetic set and of two controls: a set of disguised copies, and held-out patients."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lib.audit.disguises import DECLARED, disguised
from lib.audit.matching import Candidates, Gallery, Progress, matches, open_gallery, search, usual_distance
from lib.audit.near_doubles import Doubles, find_doubles, merge_doubles
from lib.audit.symmetries import NAMES
from lib.metrics.privacy.copying.copy_test import CopyTest, Matches, copy_test, population_pvalue

GIVEN = "as given"
POSITIVE_CONTROL = "disguised copies (positive control)"
NEGATIVE_CONTROL = "negative control (held-out patients)"
PAIR_COLUMNS = ("rank", "of", "real image", "synthetic image", "placed", "negative", "ratio", "correlation", "p")
VIEWS = 12  # disguises of each image that the embedding is learnt on


class Audited(NamedTuple):
    """One set, audited."""

    matches: Matches
    test: CopyTest


class Audit(NamedTuple):
    """Outcome of `audit`. The real images are those that were kept: training, then held-out ones."""

    sets: dict[str, Audited]  # GIVEN, POSITIVE_CONTROL, NEGATIVE_CONTROL
    gallery: Gallery
    real: Candidates  # the real images searched in themselves, without their own patient
    given: Candidates  # the synthetic ones searched in the real ones
    copies: dict[str, Matches]  # of copies of training images, by disguise of DECLARED
    copied: np.ndarray  # (c,) rows of the images that were copied
    usual: float  # `usual_distance` of the real images
    null: Matches  # of each real image with those of the other patients: none can be a copy
    doubles: Doubles  # of all real images
    row: np.ndarray  # (n,) rows of those that were kept, among training, then held-out images
    test: dict[
        str, Any
    ]  # what `copy_test` takes besides matches; a random half of patients is "member" without held-out
    population_pvalue: float  # of training and held-out images being of one population

    @property
    def of_training(self) -> np.ndarray:
        """Which of the real images were given as those of training, (n,) bool: all without held-out ones."""
        return self.test["member"] if self.test["is_heldout"] else np.ones(len(self.row), bool)


def audit(
    images: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray],
    *,
    permutations: int,
    copies: int,
    rng: np.random.Generator,
    progress: Progress = lambda done, of: None,
) -> Audit:
    """Test the synthetic images for copies of real ones, and with them the controls.

    images: uint8 (n, H, H) of "train", "heldout" and "synthetic", none constant; groups: patients (n,) of the real
    ones, in one numbering. First near-doubles among the real images are found and merged. Controls: `copies` training
    images in each of the declared disguises, and half of the held-out patients, offered as synthetic and left out of
    the held-out set. Without "heldout" a random half of the patients takes its place, of which nobody knows that it was
    not trained on. Errors as `copy_test`, and ValueError where near-doubles leave less than ten held-out patients.
    """
    has_heldout = "heldout" in images
    real_sets = [name for name in ("train", "heldout") if name in images]
    every = np.concatenate([images[name] for name in real_sets])
    is_member = np.arange(len(every)) < len(images["train"])
    patient = np.unique(np.concatenate([groups[name] for name in real_sets]), return_inverse=True)[1]
    gallery = open_gallery(every, patient, views=VIEWS, rng=rng)
    real = search(gallery, every, own=patient, progress=progress)
    doubles = merge_doubles(find_doubles(real), member=is_member, patient=patient)
    row = np.flatnonzero(doubles.kept)
    code, is_member = np.unique(doubles.patient[row], return_inverse=True)[1], is_member[row]
    if not has_heldout:
        is_member = (rng.permutation(int(code.max()) + 1) % 2 == 0)[code]
    if has_heldout and len(np.unique(code[~is_member])) < 10:
        raise ValueError(
            f"{len(doubles.trained_on)} of {len(images['heldout'])} held-out images are of patients with a near-double "
            "among the training images, so they are not held out; give images of patients who were not trained on"
        )
    real, gallery = real.within(row).only(row), gallery.only(row)._replace(patient=code)
    given = search(gallery, images["synthetic"], progress=progress)
    source = np.sort(rng.permutation(np.flatnonzero(is_member))[:copies])
    of = {
        name: search(gallery, disguised(every[row[source]], name, rng=rng), progress=progress) for name in DECLARED
    }  # fmt: skip
    return tested(
        gallery, real=real, given=given, copies=of, copied=source, doubles=doubles, row=row, member=is_member,
        is_heldout=has_heldout, permutations=permutations, rng=rng,
    )  # fmt: skip


def tested(
    gallery: Gallery,
    *,
    real: Candidates,
    given: Candidates,
    copies: Mapping[str, Candidates],
    copied: np.ndarray,
    doubles: Doubles,
    row: np.ndarray,
    member: np.ndarray,
    is_heldout: bool,
    permutations: int,
    rng: np.random.Generator,
) -> Audit:
    """The second half of `audit`: the tests of what was searched.

    gallery: of the kept real images; real, given, copies: these, the synthetic images, and copies of the rows `copied`
    in each declared disguise, searched in it; member: which of the kept ones are training images, (n,) bool; else as in
    `Audit`. Errors as `copy_test`.
    """
    code = gallery.patient
    usual = usual_distance(real, code)
    null = matches(real, code, own=code, usual=usual)
    test: dict[str, Any] = {"member": member, "groups": code, "permutations": permutations, "rng": rng}
    test["is_heldout"] = is_heldout
    test["null"] = closest_of_each(null.ratio, code)
    of = {name: matches(some, code, usual=usual) for name, some in copies.items()}
    offered = {GIVEN: matches(given, code, usual=usual), POSITIVE_CONTROL: pooled(of)}
    sets = {name: Audited(some, copy_test(some, **test)) for name, some in offered.items()}
    half = np.isin(code, rng.permutation(np.unique(code[~member]))[::2])
    held = matches(real.within(np.flatnonzero(~half)).only(half), code[~half], usual=usual)
    narrower = test | {"member": member[~half], "groups": code[~half]}
    sets[NEGATIVE_CONTROL] = Audited(held, copy_test(held, **narrower))
    population = population_pvalue(null.nearest, member=member, groups=code, permutations=permutations, rng=rng)
    return Audit(sets, gallery, real, given, of, copied, usual, null, doubles, row, test, population)


def closest_of_each(ratio: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """The smallest ratio of each patient (codes (n,)): images of one patient are no independent ones."""
    least = np.full(int(patient.max()) + 1, np.inf)
    np.minimum.at(least, patient, ratio)
    return least[np.unique(patient)]


def pooled(copies: Mapping[str, Matches]) -> Matches:
    """The matches of copies in all disguises as those of one set."""
    parts = list(copies.values())
    of_query = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Matches._fields[:-1]}
    return Matches(**of_query, reached=np.max([part.reached for part in parts], axis=0))


def control_rows(audit: Audit, *, level: float) -> list[dict]:
    """A row for each set of an audit: how many images, is it flagged, by which test?"""
    rows = []
    for name, (found, test) in audit.sets.items():
        name = name if audit.test["is_heldout"] else name.replace("held-out patients", "half of the patients")
        row = {"set": name, "images": len(found.nearest), "flagged": "yes" if test.pvalue <= level else "no"}
        row |= {"p": test.pvalue, "p, counts": test.count_pvalue, "p, tail": test.tail_pvalue}
        rows.append(row | {"pairs too close": int((test.pair_pvalues <= level).sum())})
    return rows


def pair_rows(
    audit: Audit, *, train: np.ndarray, heldout: np.ndarray | None = None, synthetic: np.ndarray
) -> list[dict]:  # fmt: skip
    """A row for each synthetic image and the real one that it resembles most, the closest first: PAIR_COLUMNS.

    train, heldout and synthetic: names of the images.
    """
    found, test = audit.sets[GIVEN]
    names = train if heldout is None else np.concatenate([train, heldout])
    names, negative = names[audit.row], _best(audit.given.is_negative, audit)
    rows = []
    for rank, row in enumerate(ranked(audit), 1):
        nearest = found.nearest[row]
        of = "train" if audit.of_training[nearest] else "heldout"
        pair = {"rank": rank, "of": of, "real image": names[nearest], "synthetic image": synthetic[row]}
        pair |= {"placed": NAMES[found.mirror[row]], "negative": "yes" if negative[row] else "no"}
        rows.append(
            pair | {"ratio": found.ratio[row], "correlation": found.similarity[row], "p": test.pair_pvalues[row]}
        )
    return rows


def ranked(audit: Audit) -> np.ndarray:
    """Rows of the synthetic images by distance ratio, the smallest first, and of equals the most alike."""
    found = audit.sets[GIVEN].matches
    return np.lexsort((-found.similarity, found.ratio))


def _best(column: np.ndarray, audit: Audit) -> np.ndarray:
    """Of each synthetic image, the entry of its best candidate."""
    return np.take_along_axis(column, audit.given.similarity.argmax(axis=1)[:, None], axis=1)[:, 0]
