"""Results kept beside the settings that decide them."""

import torch

from lib.training.loop.resume import cached


def test_cached_results_are_computed_once_for_their_settings(tmp_path):
    def compute():
        seen.append(1)
        return {"x": torch.arange(len(seen))}

    seen = []
    for settings, length in (({"k": 1}, 1), ({"k": 1}, 1), ({"k": 2}, 2)):
        assert len(cached(tmp_path / "x", settings, compute)["x"]) == length
