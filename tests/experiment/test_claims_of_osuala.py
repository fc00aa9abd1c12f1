"""Every claim of Osuala 2024 is fed its nulls and a leak, behind an open gate and a closed one: none is replicated."""

import collections

import numpy as np
import pytest

from lib.core.seeding import numpy_generator
from lib.experiment.paper import load_paper
from lib.experiment.verdict import Absence, Effect, claimed
from lib.statistics.repetitions import Estimate, Repeated
from tests.paths import ROOT

PAPER = load_paper(ROOT / "notebooks" / "05_osuala2024_dpsgd")
CLAIMS = dict(PAPER.claims)
EFFECTS = [name for name, claim in CLAIMS.items() if isinstance(claimed(claim.claimed), Effect)]
COUNT, TRIALS = 5, 120


def outcome(claim, values, nulls):
    method = Repeated(values)
    return claimed(claim.claimed).outcome(
        method.estimate(), against={null: (method - Repeated(of)).estimate() for null, of in nulls.items()}
    )


def drawn(rng, mean, sd=0.03):
    return mean + sd * rng.standard_normal(COUNT)


def side(claim):
    """The bound of an effect, and the sign of what is claimed."""
    of = claimed(claim.claimed)
    return of.bound, 1 if of.above else -1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EFFECTS if CLAIMS[name].nulls])
@pytest.mark.parametrize("reach", [0.0, 0.2])  # of the null: nothing, or clearly on the claimed side
def test_a_null_in_the_place_of_the_method_replicates_no_claim(name, reach):
    """Whatever a null reaches, the method that reaches the same is not discriminating, or inconclusive."""
    claim, rng = CLAIMS[name], numpy_generator(0, "nulls", name)
    bound, sign = side(claim)
    found = collections.Counter()
    for _ in range(TRIALS):
        nulls = {null: drawn(rng, bound + sign * reach) for null in claim.nulls}
        found[outcome(claim, drawn(rng, bound + sign * reach), nulls).verdict] += 1
    assert found["replicated"] <= 0.07 * TRIALS  # 2.5 % of trials is stated


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EFFECTS if CLAIMS[name].nulls])
def test_an_effect_that_exceeds_its_nulls_is_replicated_in_four_of_five_runs(name):
    """The size: what would be found beside a single null with a power of .95; there are two at most."""
    claim, rng = CLAIMS[name], numpy_generator(0, "effects", name)
    bound, sign = side(claim)
    size = Estimate(0.0, 0.03 * (2 / COUNT) ** 0.5, COUNT - 1, COUNT, ()).detectable(power=0.95)
    verdicts = [
        outcome(claim, drawn(rng, bound + sign * size), {null: drawn(rng, bound) for null in claim.nulls}).verdict
        for _ in range(TRIALS)
    ]
    assert np.mean([verdict == "replicated" for verdict in verdicts]) >= 0.8


@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in EFFECTS])
@pytest.mark.parametrize("leak", [0.1, 0.2, 0.3, 1.0])
def test_a_leak_replicates_no_claim_that_nothing_leaks(name, leak):
    of = claimed(CLAIMS[name].claimed)
    assert isinstance(of, Absence)
    rng = numpy_generator(0, "leaks", name)
    for _ in range(TRIALS):
        found = {share: Repeated(drawn(rng, share + 0.01 * (1 - share), 0.01)).estimate() for share in (0.1, 0.2, 0.3)}
        method = Repeated(drawn(rng, leak + 0.01 * (1 - leak), 0.01)).estimate()
        disjoint = Repeated(drawn(rng, 0.01, 0.005)).estimate()
        assert of.outcome(method, disjoint=disjoint, leaks=found).verdict != "replicated"


def test_claims_about_the_generator_say_so_and_have_its_nulls():
    for name, claim in CLAIMS.items():
        of_images = {"uniform noise", "class means"} <= set(claim.nulls)
        assert claim.generator == (of_images or name not in EFFECTS), name
