"""What would fail at the scale paper only after days fails there in the first cells."""

import json

import pytest

from tests.paths import ROOT

NEEDS = {
    "01_han2019_radiographs": "densenet121",
    "04_pennisi2023_walk": "LPIPS needs alexnet",
    "05_osuala2024_dpsgd": "swin_t",
}


@pytest.mark.slow
@pytest.mark.parametrize("paper", NEEDS)
def test_a_run_without_published_weights_stops_before_anything_is_drawn_or_trained(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    cells = [
        cell
        for cell in json.loads((ROOT / "notebooks" / paper / "01_train.ipynb").read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    imports, parameters, first = ("".join(cell["source"]) for cell in cells[:3])
    names: dict = {}
    exec(imports, names)
    exec(parameters, names)
    with pytest.raises(FileNotFoundError, match=NEEDS[paper]):
        exec(first, names | {"scale": "paper"})
    assert not list(tmp_path.glob("data/**/*.safetensors"))
