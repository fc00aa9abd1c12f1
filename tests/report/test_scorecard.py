"""The scorecard: every claim with its value or why it has none, every item, every deviation."""

import json
import shutil

import pytest

from lib.report import scorecard
from lib.report.records import VERDICTS, by_chance, chance, read_run
from lib.statistics.multiple_testing import holm
from tests.report.toy import NASTY

EFFECT_SEEN = "an effect of 0.03 beside the nulls would be found with 80 % power"


class TestScorecard:
    def test_has_every_claim_with_its_value_and_why_it_has_none(self, suite):
        card = scorecard.claims(read_run("demo-phantom")).set_index("claim")
        assert list(card.index) == ["C1", "C2", "C3", "C4", "C5", "P1"]
        assert card.loc["C1", ["published", "published inside"]].tolist() == ["0.25", "yes"]
        assert card.loc["C1", ["ours", "ours_low", "ours_high"]].tolist() == pytest.approx(
            [0.2, 0.15272, 0.24728], 1e-4
        )
        assert card.null["C1"] == "noise"
        assert card.loc["C1", ["p", "p_holm"]].tolist() == pytest.approx(
            [0.000562, holm(card.p[["C1", "C2", "C3"]].to_dict() | {"C4": 1, "C5": 1})["C1"]], 1e-3
        )
        assert card.loc["C1", ["ratio", "ratio_low", "ratio_high"]].tolist() == pytest.approx(
            [0.8, 0.6109, 0.9891], 1e-4
        )
        assert card.ratio.notna().sum() == 1
        assert card["survives Holm"].map(bool).tolist() == [True, False, True, False, False, False]
        assert card.verdict.tolist()[:3] == ["replicated", "inconclusive", "contradicted"]
        assert card.verdict.tolist()[3:] == ["not testable here", "not run", "replicated"]
        assert card.remark.tolist()[:3] == ["", EFFECT_SEEN, "the interval lies on the other side"]
        assert card.remark["C4"] == f"because {NASTY}; its notebook failed since"
        assert card.remark["C5"] == "made by 04_privacy_pairs"
        assert card.deviations.tolist() == ["1, 2"] * 3 + ["1"] * 2 + ["1, 2"]

    def test_has_every_item_deviation_and_count(self, suite):
        records = read_run("demo-phantom")
        items = scorecard.items(records).set_index("item")
        assert items.state.to_dict() == {
            "fig1_samples": "missing", "fig2_pairs": "made", "tab1_scores": "made", "fig9": "missing",
        }  # fmt: skip
        assert items.loc["tab1_scores", "published"] == "real auroc 0.8; f1 0.7"
        assert scorecard.deviations(records)["bears on"].tolist() == ["the whole paper", "05_utility"]
        counts = scorecard.counts(records).set_index("paper")
        assert list(counts.index) == ["01_first", "02_second"]  # and not the paper that closes the run
        verdicts = {"replicated": 1, "contradicted": 1, "inconclusive": 1, "not testable here": 1, "not run": 1}
        assert counts.loc["01_first", [*VERDICTS]].to_dict() == dict.fromkeys(VERDICTS, 0) | verdicts
        of_all = ["claims", "with a published number", "replicated by chance", "items made", "items"]
        assert counts.loc["01_first", of_all].tolist() == [5, 1, pytest.approx(3 * 0.025), 2, 3]
        assert scorecard.counts(records, "precondition").set_index("paper").loc["01_first", "replicated"] == 1
        with pytest.raises(ValueError, match="unknown kind 'ours'"):
            scorecard.counts(records, "ours")

    def test_holm_counts_every_claim_that_the_paper_states(self, suite):
        """Claims that drop out make the correction of the others no easier."""
        folder = suite / "data/runs/demo-phantom/01_first/claims"
        for name in ("C2", "C3", "C4"):
            (folder / f"{name}.json").unlink()
        card = scorecard.claims(read_run("demo-phantom")).set_index("claim")
        assert card.loc["C1", ["p", "p_holm"]].tolist() == pytest.approx([0.000562, 5 * 0.000562], 1e-3)
        assert card.p_holm.notna().sum() == 1
        record = json.loads((folder / "C1.json").read_text())
        (folder / "C1.json").write_text(json.dumps(record | {"p": 0.01}))
        card = scorecard.claims(read_run("demo-phantom")).set_index("claim")
        assert card.loc["C1", ["p_holm", "survives Holm"]].tolist() == [0.05, "no"]

    def test_a_ratio_is_ordered_and_of_a_published_number_only(self, suite):
        paper = suite / "notebooks/01_first/paper.yaml"
        text, shown = paper.read_text(), []
        for published in ("-0.25", "0", "0.0", '"0.25 (digitised)"', "{a: 0.25}", "null"):
            paper.write_text(text.replace("published: 0.25", f"published: {published}"))
            of = {claim["name"]: claim for claim in read_run("demo-phantom")[0].content["claims"]}["C1"]
            shown.append(of["of_published"])
            assert bool(of["ratio"]) == bool(of["of_published"])
        assert shown == ["−0.800 [−0.989, −0.611] of the published", *[""] * 5]

    def test_by_chance_counts_effects_with_a_verdict(self):
        verdicts = ("replicated", "contradicted", "inconclusive", "not discriminating", "not testable here", "pending")
        claims = [{"effect": effect, "verdict": verdict} for effect in (True, False) for verdict in verdicts]
        assert by_chance(claims) == pytest.approx(4 * 0.025)
        assert (
            chance(by_chance(claims))
            == "Of the 4 effects with a verdict at most 0.1 would be replicated by chance, were there none."
        )
        assert chance(by_chance(claims[4:])) == ""

    def test_goes_past_what_is_damaged_or_absent(self, suite):
        (suite / "data/runs/demo-phantom/01_first/claims/C1.json").write_text("{")
        (suite / "notebooks/02_second/paper.yaml").write_text("title: broken\n")
        records = read_run("demo-phantom")
        card = scorecard.claims(records)
        assert (card.verdict[0], card.remark[0]) == ("not run", "its record is damaged")
        first, second = scorecard.problems(records)
        assert first.startswith("01_first: data/runs/demo-phantom/01_first/claims/C1.json is damaged")
        assert second.startswith("02_second: notebooks/02_second/paper.yaml:1: ")

    def test_of_nothing_is_empty(self, suite):
        shutil.rmtree(suite / "notebooks")
        tables = [of(read_run("demo-phantom")) for of in (scorecard.claims, scorecard.items, scorecard.deviations)]
        assert [len(table) for table in tables] == [0, 0, 0]
