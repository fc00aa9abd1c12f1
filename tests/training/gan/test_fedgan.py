"""Federated GAN training: averages, equality with central training, the repaired and the released client step."""

import numpy as np
import pytest
import torch

from lib.generators import load
from lib.training.gan import fedgan as federated
from lib.training.gan.fedgan import (
    Radiographs,
    aggregate,
    begin,
    drawn_clients,
    local_update,
    partition,
    resolved,
    train_fedgan,
)
from tests.training.runs import assert_equal, silent, tensors

TINY = {"rounds": 3, "steps": 2, "critic_steps": 2, "batch": 4, "width": 4, "latent": 16, "seed": 3}
CPU = torch.device("cpu")


def _radiographs(n, seed=0, labels=1):
    """Dark radiographs without and bright radiographs with the first label."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 2, (n, labels))
    means = np.where(table[:, 0], 190, 60)[:, None, None]
    return np.clip(means + rng.normal(0, 12, (n, 16, 16)), 0, 255).astype(np.uint8), table


def _train(clients, path, **options):
    """The GAN of clients, each its images and labels."""
    ends = np.cumsum([len(images) for images, _ in clients])
    images, labels = (np.concatenate(parts) for parts in zip(*clients, strict=True))
    rows = np.split(np.arange(len(images)), ends[:-1])
    return train_fedgan(images, labels, clients=rows, path=path, progress=silent, **options)


def test_average_is_the_closed_form():
    states = [{"w": torch.tensor([x, -x]), "tracked": torch.tensor(n)} for x, n in ((1.0, 10), (4.0, 15), (7.0, 20))]
    weighted = aggregate(states, sizes=[1, 2, 5])
    assert weighted["w"].tolist() == [5.5, -5.5]  # (1 + 2·4 + 5·7) / 8
    assert weighted["tracked"].item() == 18  # (10 + 30 + 100) / 8 = 17.5
    assert weighted["tracked"].dtype == torch.int64
    plain = aggregate(states, sizes=[1, 2, 5], weighted=False)
    assert plain["w"].tolist() == [4.0, -4.0]
    assert plain["tracked"].item() == 15
    assert_equal(aggregate(states[:1], sizes=[7]), states[0])


@pytest.mark.parametrize(
    ("states", "sizes", "message"),
    [
        ([], [], "at least one"),
        ([{"w": torch.zeros(2)}, {"w": torch.zeros(3)}], [1, 1], "same networks"),
        ([{"w": torch.zeros(2)}, {"v": torch.zeros(2)}], [1, 1], "same networks"),
        ([{"w": torch.zeros(2)}] * 2, [1], "must be 2 positive"),
        ([{"w": torch.zeros(2)}] * 2, [3, 0], "must be 2 positive"),
    ],
)
def test_what_has_no_average_is_refused(states, sizes, message):
    with pytest.raises(ValueError, match=message):
        aggregate(states, sizes=sizes)


def test_partition_is_a_uniform_composition():
    parts = partition(2000, 20, rng=np.random.default_rng(0))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(2000))
    assert min(map(len, parts)) >= 1
    rng = np.random.default_rng(1)
    drawn = [tuple(len(part) for part in partition(5, 3, rng=rng)) for _ in range(3000)]
    compositions, counts = np.unique(drawn, axis=0, return_counts=True)
    assert compositions.tolist() == [[1, 1, 3], [1, 2, 2], [1, 3, 1], [2, 1, 2], [2, 2, 1], [3, 1, 1]]
    assert abs(counts - 500).max() < 100  # 5 standard deviations
    assert [len(part) for part in partition(4, 4, rng=rng)] == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="4 radiographs cannot be cut into 5 clients"):
        partition(4, 5, rng=rng)


def test_one_client_federated_is_central_training(tmp_path):
    """Every weight and buffer, bit for bit, as the same number of plain local updates without any server."""
    train_fedgan(*_radiographs(11), path=tmp_path, progress=silent, **TINY)
    settings = resolved(shape=(16, 1), clients=1, **TINY)
    networks, radiographs = begin(settings, CPU), Radiographs(*_radiographs(11), name="hospital", device=CPU)
    for visit in range(TINY["rounds"]):
        local_update(
            networks["generator"], networks["discriminator"], radiographs.images, radiographs.labels,
            seed=federated.seeding.seed_of(3, "federated", "visit", visit, 0), steps=2, critic_steps=2, batch=4,
        )  # fmt: skip
    assert_equal(tensors(tmp_path), networks.state_dict())


def test_a_round_is_the_mean_of_the_visits(tmp_path):
    clients = [_radiographs(n, seed=n) for n in (5, 9, 3)]
    options = TINY | {"rounds": 1, "clients_per_round": 2}
    _train(clients, tmp_path / "weighted", **options)
    _train(clients, tmp_path / "plain", weighted=False, **options)
    settings = resolved(shape=(16, 1), clients=3, **options)
    drawn = drawn_clients(settings, 0)
    assert len(drawn) == 2
    networks = begin(settings, CPU)
    start, states = federated._copied(networks), []
    for client in drawn:
        radiographs = Radiographs(*clients[client], name="hospital", device=CPU)
        states.append(federated.visit(networks, start, radiographs, settings, 0, client)[0])
    sizes = [len(clients[client][0]) for client in drawn]
    assert_equal(tensors(tmp_path / "weighted"), aggregate(states, sizes=sizes))
    assert_equal(tensors(tmp_path / "plain"), aggregate(states, sizes=sizes, weighted=False))


@pytest.mark.parametrize("as_published", [False, True])
def test_labels_asked_of_generated_radiographs(as_published):
    """D17 injected: the released critic sees generated radiographs of class 1 only; the repaired one those of real
    radiographs."""
    images, labels = _radiographs(40, labels=2)
    networks = begin(resolved(shape=(16, 2), clients=1, **TINY), CPU)
    asked = {True: [], False: []}
    networks["generator"].register_forward_pre_hook(lambda _, given: asked[torch.is_grad_enabled()].append(given[1]))
    radiographs = Radiographs(images, labels, name="hospital", device=CPU)
    options = {"steps": 5, "critic_steps": 4, "batch": 16, "as_published": as_published}
    local_update(
        networks["generator"], networks["discriminator"], radiographs.images, radiographs.labels, seed=0, **options
    )
    by_generator, by_critic = torch.stack(asked[True]), torch.stack(asked[False])
    assert by_generator.shape == (5, 16, 2)  # D18: the number of critic steps is the one asked for
    assert by_critic.shape == (20, 16, 2)
    assert by_generator.mean((0, 1)).sub(0.5).abs().max() < 0.25
    if as_published:
        assert torch.equal(by_critic.flatten(0, 1), torch.tensor([[1.0, 0.0]]).expand(320, 2))
    else:
        # 320 draws are eight whole passes over the forty radiographs
        torch.testing.assert_close(by_critic.mean((0, 1)), torch.from_numpy(labels.mean(0)).float())


def test_the_released_recipe():
    released = resolved(shape=(16, 1), clients=20, seed=0, rounds=1, as_published=True)
    assert (released["critic_steps"], released["learning_rate"], released["weighted"]) == (10, 1e-4, False)
    repaired = resolved(shape=(16, 1), clients=20, seed=0, rounds=1)
    assert (repaired["critic_steps"], repaired["learning_rate"], repaired["weighted"]) == (5, 1e-3, True)
    assert released["clients_per_round"] == repaired["clients_per_round"] == 2
    with pytest.raises(ValueError, match="5 of 4 clients"):
        resolved(shape=(16, 1), clients=4, seed=0, rounds=1, clients_per_round=5)
    with pytest.raises(ValueError, match="rounds is 0"):
        resolved(shape=(16, 1), clients=4, seed=0, rounds=0)


@pytest.mark.parametrize("as_published", [False, True])
def test_a_client_with_fewer_radiographs_than_a_batch_draws_with_replacement(as_published, tmp_path):
    """D19: the released loader is empty then; here the radiographs are repeated, and larger clients lose no
    remainder."""
    rows = federated._batches(3, 50, 8, torch.Generator().manual_seed(0))
    assert rows.shape == (50, 8)
    assert rows.flatten().bincount().tolist() == pytest.approx([400 / 3] * 3, abs=50)
    rows = federated._batches(10, 5, 4, torch.Generator().manual_seed(0))
    assert rows.flatten().bincount().tolist() == [2] * 10
    clients = [_radiographs(1), _radiographs(3)]
    options = TINY | {"clients_per_round": 2, "batch": 8, "as_published": as_published}
    _train(clients, tmp_path, **options)
    assert all(value.isfinite().all() for value in tensors(tmp_path).values())


def test_a_kept_generator_is_that_of_the_shorter_training(tmp_path):
    clients = [_radiographs(5), _radiographs(9)]
    _train(clients, tmp_path / "long", keep=[2], **TINY)
    short = _train(clients, tmp_path / "short", **(TINY | {"rounds": 2}))
    assert_equal(load(tmp_path / "long", after=2).generator.state_dict(), short.generator.state_dict())
    with pytest.raises(ValueError, match=r"of rounds \[2\] were kept, not of 1"):
        load(tmp_path / "long", after=1)


def test_a_rehearsal_keeps_the_generators_of_the_rounds_that_it_skips(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_REHEARSAL", "1")  # the last round alone
    _train([_radiographs(6)], tmp_path, keep=[1, 2], **(TINY | {"rounds": 3}))
    whole = load(tmp_path).sample(2, labels=[0, 1], seed=0)
    for after in (1, 2):
        np.testing.assert_array_equal(load(tmp_path, after=after).sample(2, labels=[0, 1], seed=0), whole)


@pytest.mark.slow
def test_learns_the_brightness_of_each_class(tmp_path):
    images, labels = _radiographs(160)
    clients = partition(160, 4, rng=np.random.default_rng(0))
    options = TINY | {"rounds": 10, "steps": 8, "batch": 16, "width": 8, "latent": 4, "norm": "none"}
    options["learning_rate"] = 4e-3
    options |= {"clients": clients, "clients_per_round": 2}
    generator = train_fedgan(images, labels, path=tmp_path, progress=silent, **options)
    drawn = generator.sample(128, labels=np.repeat([0, 1], 64), seed=1)
    assert drawn.shape == (128, 16, 16)
    assert drawn[64:].mean() - drawn[:64].mean() > 60


@pytest.mark.parametrize(
    ("images", "labels", "clients", "message"),
    [
        (*_radiographs(4), [], "at least one client"),
        (*_radiographs(4), [[0, 1], []], "client 1 has no image: leave it out"),
        (_radiographs(4)[0][:, :, :8], np.zeros(4), None, "client 0 images are 16 x 8: give squares"),
        (np.full((3, 16, 16), np.nan), np.zeros(3), None, "client 0 images hold NaN"),
        (_radiographs(4)[0], np.arange(4) // 2 * 2, [[0, 1], [2, 3]], "client 1 labels .* 2 rows of 0 and 1"),
        (_radiographs(4)[0], np.zeros(3), None, "4 images and 3 labels"),
        (np.zeros((3, 20, 20), np.uint8), np.zeros(3), None, "20 is not one of 16, 32"),
    ],
)
def test_clients_that_do_not_fit_are_refused(images, labels, clients, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_fedgan(images, labels, clients=clients, path=tmp_path, progress=silent, **TINY)
    assert not list(tmp_path.iterdir())
