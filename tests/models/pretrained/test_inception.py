"""FID-Inception: keys and sizes of the published file, its three peculiarities, and refusal of what is not it."""

import pytest
import torch

from lib.models.pretrained.inception import WEIGHTS, Inception, _Mixed, _prepared, load_inception

KEYS = {
    "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
    "Conv2d_2b_3x3.bn.running_var": (64,),
    "Conv2d_3b_1x1.conv.weight": (80, 64, 1, 1),
    "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
    "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
    "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
    "Mixed_5d.branch3x3dbl_3.bn.weight": (96,),
    "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
    "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
    "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
    "Mixed_6e.branch7x7dbl_5.conv.weight": (192, 192, 1, 7),
    "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
    "Mixed_7b.branch3x3_2b.conv.weight": (384, 384, 3, 1),
    "Mixed_7c.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3),
    "Mixed_7c.branch1x1.conv.weight": (320, 2048, 1, 1),
    "fc.weight": (1008, 2048),
}


def test_keys_shapes_and_parameters():
    with torch.device("meta"):
        model = Inception()
    state = model.state_dict()
    assert {key: tuple(state[key].shape) for key in KEYS} == KEYS
    assert len(state) == 94 * 6 + 2
    assert sum(p.numel() for p in model.parameters()) == 23_850_960
    assert model(torch.empty(5, 3, 40, 50, device="meta")).shape == (5, 2048)


def test_features_and_file_round_trip(tmp_path):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Inception().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            continue  # files as old as the published one may lack these
        fan_in = max(shape[1:].numel(), 1)
        if key.endswith(("running_var", "bn.weight")):
            state[key] = torch.ones(shape)
        else:
            state[key] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5 * (len(shape) > 1)
    path = tmp_path / WEIGHTS
    torch.save(state, path)
    model = load_inception(path)
    assert not model.training
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    grey = torch.randint(0, 256, (1, 1, 299, 299), generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        features = model(grey)
        assert features.shape == (1, 2048)
        assert features.isfinite().all()
        assert features.std() > 1e-3
    torch.save({"fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(ValueError, match="472 keys differ, the first is Conv2d_1a_3x3.bn.bias"):
        load_inception(path)


def test_pools_are_those_of_fid():
    """Average without the padding, so that a constant stays constant up to the border; maximum in the last block."""
    block = _Mixed(2, [[("branch_pool", 2, 1)]], "average")
    x = torch.rand(1, 2, 5, 5)
    assert torch.equal(block._pooled(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 5, 5))
    torch.testing.assert_close(block._pooled(x)[..., 0, 0], x[..., :2, :2].mean(dim=(2, 3)))
    with torch.device("meta"):
        pools = {name: m.pool for name, m in Inception().named_children() if isinstance(m, _Mixed)}
    assert [name for name, pool in pools.items() if pool == "maximum"] == ["Mixed_7c"]
    assert [name for name, pool in pools.items() if pool == "halve"] == ["Mixed_6a", "Mixed_7a"]
    block.pool = "maximum"
    torch.testing.assert_close(block._pooled(x)[..., 0, 0], x[..., :2, :2].amax(dim=(2, 3)))


def test_preparation():
    images = torch.tensor([[0, 255]], dtype=torch.uint8).expand(2, 1, 2, 2)
    ready = _prepared(images)
    assert ready.shape == (2, 3, 299, 299)
    assert (ready.amin(), ready.amax()) == (-1, 1)
    large = torch.rand(1, 3, 897, 897)  # a third: without antialiasing exactly every third pixel
    torch.testing.assert_close(_prepared(large), 2 * large[:, :, 1::3, 1::3] - 1)


@pytest.mark.parametrize(
    "images",
    [torch.rand(2, 8, 8), torch.rand(2, 2, 8, 8), 255 * torch.rand(2, 1, 8, 8), torch.full((1, 1, 4, 4), torch.nan)],
)
def test_other_images_are_refused(images):
    with pytest.raises(ValueError, match="Inception takes"):
        _prepared(images)


def test_absent_or_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"download https://github.com/.*{WEIGHTS} into .*data/weights"):
        load_inception(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="cut.pth is damaged"):
        load_inception(tmp_path / "cut.pth")
