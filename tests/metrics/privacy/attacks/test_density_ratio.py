"""The density-ratio attack finds what was learnt by heart."""

import numpy as np
import pytest

from lib.metrics.privacy.attacks.density_ratio import density_ratio_attack
from lib.statistics.roc import auroc
from tests.metrics.privacy.toy import normal


def test_the_density_ratio_finds_what_was_learnt_by_heart():
    train, heldout, reference = normal(0, 100, 60), normal(1, 100, 60), normal(2, 100, 60)
    labels, candidates = np.repeat([1, 0], 100), np.concatenate([train, heldout])
    assert auroc(labels, density_ratio_attack(candidates, synthetic=train, reference=reference)) > 0.99
    fresh = density_ratio_attack(candidates, synthetic=normal(3, 100, 60), reference=reference)
    assert 0.35 < auroc(labels, fresh) < 0.65
    with pytest.raises(ValueError, match="equal"):
        density_ratio_attack(candidates, synthetic=np.zeros((9, 60)), reference=np.zeros((9, 60)))
    for empty in ("synthetic", "reference"):
        with pytest.raises(ValueError, match=f"{empty} is empty"):
            density_ratio_attack(candidates, **{"synthetic": train, "reference": reference} | {empty: train[:0]})
    with pytest.raises(ValueError, match="candidates is empty"):
        density_ratio_attack(train[:0], synthetic=train, reference=reference)
