"""The scorecard: every claim with its value or why it has none, every item, every deviation."""

import shutil

from lib.report import scorecard
from lib.report.records import VERDICTS, read_run
from tests.report.toy import NASTY


class TestScorecard:
    def test_has_every_claim_with_its_value_and_why_it_has_none(self, suite):
        card = scorecard.claims(read_run("demo-phantom")).set_index("claim")
        assert list(card.index) == ["C1", "C2", "C3", "C4", "C5"]
        assert card.loc["C1", ["published", "ours", "ours_low", "ours_high"]].tolist() == ["0.25", 0.2, 0.15, 0.25]
        assert card.verdict.tolist() == ["reproduced", "inconclusive", "contradicted", "not testable here", "not run"]
        assert card.remark.tolist()[:3] == ["", "", ""]
        assert card.remark["C4"] == f"because {NASTY}; its notebook failed since"
        assert card.remark["C5"] == "made by 04_privacy_pairs"
        assert card.deviations.tolist() == ["1, 2"] * 3 + ["1"] * 2

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
        assert counts.loc["01_first", [*VERDICTS, "claims", "items made", "items"]].tolist() == [
            1,
            0,
            1,
            1,
            1,
            1,
            5,
            2,
            3,
        ]

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
