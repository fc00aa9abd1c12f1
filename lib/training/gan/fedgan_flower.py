"""Federated training (lib.training.gan.fedgan) by Flower: the server and each client a process of its own.

    python -m lib.training.gan.fedgan_flower server --path FOLDER --clients 2 --rounds 30 --address 127.0.0.1:8080
    python -m lib.training.gan.fedgan_flower client --number 0 --cohort A.h5 --address 127.0.0.1:8080     (one for each
    client)

gives the weights of `train_fedgan` on the same radiographs, settings and seed. A client sends its number, the number
of its radiographs, their size and number of labels, and after a visit its weights and last losses; radiographs and
labels stay in its process. It runs `visit` of its own installation: no code comes from the server. For that, and
because a visit starts no process, this is Flower's gRPC transport, start_server and start_client, which Flower calls
deprecated and version 1.41 ships: the successor has clients run what the server sends them. The connection is not
encrypted: keep it on one machine, or within a tunnel. Flower's own telemetry is off unless FLWR_TELEMETRY_ENABLED says
otherwise.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.cohorts.cohort import Cohort
from lib.core import seeding
from lib.models.gan.fedgan import NORMS
from lib.training.gan.fedgan import Radiographs, begin, drawn_clients, federate, resolved, visit

NO_FINDING = "No Finding"


def serve(address: str, *, path, clients: int, rounds: int, seed: int, keep=(), wait: float = 600.0, **options) -> None:
    """Wait up to `wait` seconds for the clients 0..clients-1, train with them, and leave the checkpoint in `path`.

    address: HOST:PORT to listen at. rounds, seed, keep, options, and what happens to a checkpoint in `path`: see
    lib.training.gan.fedgan.train_fedgan; `lib.generators.load` reads the result. ImportError without Flower;
    TimeoutError when clients are missing; ConnectionError when one fails; ValueError for settings that cannot be
    trained, before anyone connects, and for clients that do not fit.
    """
    if clients < 1:
        raise ValueError(f"clients is {clients}: a federation needs one at least.")
    resolved(shape=(16, 1), clients=clients, seed=seed, rounds=rounds, **options)  # what cannot be trained, cannot wait
    _require_flower()
    from flwr.common import FitIns, GetPropertiesIns, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server import History, Server, ServerConfig, SimpleClientManager, start_server

    class Rounds(Server):
        """Every round by `federate`; clients are sent home whether it ends or fails."""

        failure = None

        def fit(self, num_rounds, timeout):
            try:
                self._train()
            except BaseException as error:
                self.failure = error
            return History(), 0.0

        def _train(self):
            manager = self.client_manager()
            if not manager.wait_for(clients, timeout=wait):
                raise TimeoutError(f"{len(manager)} of {clients} clients came within {wait:.0f} s: start the others.")
            proxies = list(manager.all().values())
            broadcast = [proxy.get_properties(GetPropertiesIns({}), None, 0).properties for proxy in proxies]
            settings, sizes = _agreed(broadcast, clients, seed=seed, rounds=rounds, **options)
            by_number = {client["number"]: proxy for client, proxy in zip(broadcast, proxies, strict=True)}

            def visits(weights, round):
                asked = FitIns(
                    ndarrays_to_parameters(_arrays(weights)), {"settings": json.dumps(settings), "round": round}
                )
                drawn = drawn_clients(settings, round)
                with ThreadPoolExecutor(len(drawn)) as pool:
                    futures = [pool.submit(by_number[client].fit, asked, None, round) for client in drawn]
                answers = []
                for client, future in zip(drawn, futures, strict=True):
                    if error := future.exception():
                        again = "start all again to go on from the last save"
                        raise ConnectionError(f"Client {client} failed in round {round + 1}: {again}.") from error
                    result = future.result()
                    state = _state(weights, parameters_to_ndarrays(result.parameters), f"client {client}")
                    losses = {name: torch.tensor(float(loss)) for name, loss in sorted(result.metrics.items())}
                    answers.append((sizes[client], state, losses))
                return answers

            federate(visits, settings | {"data": sizes}, path=path, keep=keep, device=torch.device("cpu"))

    server = Rounds(client_manager=SimpleClientManager())
    start_server(server_address=address, server=server, config=ServerConfig(num_rounds=rounds))
    if server.failure:
        raise server.failure


def join(
    address: str, radiographs: Radiographs, *, number: int, wait: float = 600.0, device: torch.device | None = None
) -> None:
    """Take part as client `number` with `radiographs` until the server ends; wait up to `wait` seconds for it.

    ValueError for a number below 0; ImportError without Flower; ConnectionError when the server does not answer.
    """
    if number < 0:
        raise ValueError(f"number is {number}: clients are numbered 0, 1, … one each.")
    _require_flower()
    from flwr.client import NumPyClient, start_client
    from grpc import RpcError

    device = device or seeding.device()

    class Client(NumPyClient):
        """One hospital."""

        def get_properties(self, config):
            return {
                "number": number,
                "radiographs": len(radiographs),
                "image_size": radiographs.shape[0],
                "labels": radiographs.shape[1],
            }

        def fit(self, parameters, config):
            settings = json.loads(config["settings"])
            networks = begin(settings, device)
            weights = _state(networks.state_dict(), parameters, "the server")
            state, losses = visit(networks, weights, radiographs, settings, config["round"], number)
            return _arrays(state), len(radiographs), {name: loss.item() for name, loss in losses.items()}

    try:
        start_client(server_address=address, client=Client().to_client(), insecure=True, max_wait_time=wait)
    except RpcError as error:
        raise ConnectionError(f"The server at {address} does not answer: start it, or give its address.") from error


def labels_of(cohort: Cohort, names: Sequence[str] = ()) -> np.ndarray:
    """(n, k) int64 of 0 and 1: the columns `names` of the cohort's labels, or all of them.

    "No Finding" is 1 where no other label is, unless the cohort has a label of that name. ValueError for another name.
    """
    table = cohort.labels
    if table.ndim == 1:
        table = (table[:, None] == np.arange(len(cohort.label_names))).astype(int)
    columns = dict(zip(cohort.label_names, table.T, strict=True))
    columns = {NO_FINDING: (table.sum(1) == 0).astype(table.dtype)} | columns
    names = names or cohort.label_names
    if unknown := [name for name in names if name not in columns]:
        raise ValueError(f"The cohort has no label {unknown[0]!r}, but {', '.join(columns)}.")
    return np.stack([columns[name] for name in names], axis=1)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 one sentence on stderr says what is wrong, 2 wrong usage."""
    options = vars(_parser().parse_args(arguments))
    command, address, wait = options.pop("command"), options.pop("address"), options.pop("wait")
    try:
        if command == "server":
            serve(address, wait=wait, **options)
        else:
            cohort = Cohort.open(options["cohort"]).subset("train")
            cohort = cohort.resized(options["image_size"]) if options["image_size"] else cohort
            number = options["number"]
            radiographs = Radiographs(
                cohort.images[:], labels_of(cohort, options["label"]), name=f"client {number}",
                device=seeding.device(),
            )  # fmt: skip
            join(address, radiographs, number=number, wait=wait)
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same commands go on from the last save", file=sys.stderr)
        return 130
    return 0


def _agreed(broadcast: list[dict], clients: int, **options) -> tuple[dict, list[int]]:
    """The settings, and the number of radiographs of each client, from what all clients reported."""
    numbers = sorted(client["number"] for client in broadcast)
    if numbers != list(range(clients)):
        raise ValueError(f"The clients call themselves {numbers}: each of 0 to {clients - 1} must come once.")
    shapes = {(client["image_size"], client["labels"]) for client in broadcast}
    if len(shapes) > 1:
        raise ValueError(
            f"The clients have radiographs of different (size, labels), {sorted(shapes)}: give all the same."
        )
    sizes = {client["number"]: client["radiographs"] for client in broadcast}
    return resolved(shape=shapes.pop(), clients=clients, **options), [sizes[number] for number in numbers]


def _arrays(weights: Mapping[str, Tensor]) -> list[np.ndarray]:
    return [value.cpu().numpy() for value in weights.values()]


def _state(like: Mapping[str, Tensor], arrays: Sequence[np.ndarray], whose) -> dict[str, Tensor]:
    """The weights that came over the network, by name; ValueError unless they fit `like` and are finite."""
    fitting = len(arrays) == len(like) and all(
        array.shape == tuple(value.shape) and np.isfinite(array).all()
        for array, value in zip(arrays, like.values(), strict=True)
    )
    if not fitting:
        raise ValueError(f"The weights from {whose} do not fit the networks or are not finite: stop, and look at it.")
    return {key: torch.tensor(array) for key, array in zip(like, arrays, strict=True)}


def _require_flower() -> None:
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    try:
        import flwr  # noqa: F401
    except ImportError as error:
        raise ImportError('Flower is not installed: pip install -e ".[federated]" installs it.') from error
    logging.getLogger("flwr").setLevel(logging.ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lib.training.gan.fedgan_flower", description="Federated GAN by Flower."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("server", help="average what the clients train, and keep the result")
    server.add_argument("--path", type=Path, required=True, help="folder of the checkpoint")
    server.add_argument("--clients", type=int, required=True, help="how many take part, numbered from 0")
    server.add_argument("--rounds", type=int, required=True)
    server.add_argument("--seed", type=int, default=0)
    server.add_argument("--keep", type=int, nargs="*", default=[], help="rounds whose generator stays")
    for name in ("clients-per-round", "steps", "critic-steps", "batch", "latent", "width"):
        server.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
    server.add_argument("--learning-rate", type=float, default=argparse.SUPPRESS)
    server.add_argument("--norm", choices=NORMS, default=argparse.SUPPRESS)
    server.add_argument("--unweighted", dest="weighted", action="store_false", default=argparse.SUPPRESS)
    server.add_argument("--as-published", action="store_true", default=argparse.SUPPRESS)
    client = commands.add_parser("client", help="train on one cohort, as often as the server asks")
    client.add_argument("--number", type=int, required=True, help="0, 1, … one each")
    client.add_argument("--cohort", type=Path, required=True, help="HDF5 file; its training radiographs are used")
    client.add_argument("--label", action="append", default=[], help=f"a label or {NO_FINDING!r}; without it, all")
    client.add_argument("--image-size", type=int, help="box-average the radiographs to it")
    for command in (server, client):
        command.add_argument("--address", default="127.0.0.1:8080", metavar="HOST:PORT")
        command.add_argument("--wait", type=float, default=600.0, help="seconds to wait for the other side")
    return parser


if __name__ == "__main__":
    sys.exit(main())
