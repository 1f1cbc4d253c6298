"""MAML with learn2learn, higher and TorchOpt, as their users write it.

Each function gives the one that accumulates the meta-gradient in the module's parameters.
"""

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import higher
import torch
import torchopt
from torch import nn

SOURCES = Path(sys.prefix) / "sources"


def learn2learn_source() -> Path:
    """Finds the unpacked source distribution."""
    (found,) = SOURCES.glob("learn2learn-*")
    return found


def learn2learn_version() -> str:
    return learn2learn_source().name.removeprefix("learn2learn-")


def import_maml() -> Any:
    """Imports learn2learn's MAML alone: the package itself imports extensions that are not built."""
    package = learn2learn_source() / "learn2learn"
    for name, folder in (("learn2learn", package), ("learn2learn.algorithms", package / "algorithms")):
        parent = types.ModuleType(name)
        parent.__path__ = [str(folder)]
        sys.modules.setdefault(name, parent)
    return importlib.import_module("learn2learn.algorithms.maml").MAML


def module_of(network: str, params: list[torch.Tensor]) -> nn.Module:
    """Makes the module of a network with copies of ``params`` in their order, memory layout included."""
    if network == "perceptron":
        module = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    else:
        layers = []
        for channels in (1, 64, 64, 64):
            norm = nn.BatchNorm2d(64, track_running_stats=False)
            layers += [nn.Conv2d(channels, 64, 3, stride=2, padding=1), norm, nn.ReLU()]
        module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 5))
    for own, given in zip(module.parameters(), params, strict=True):
        own.data = given.clone()
    return module.to(params[0].device)


def learn2learn(module: nn.Module, loss_fn: Any, steps: int, rate: float, data: Any) -> Callable[[], None]:
    """Clones and adapts a wrapped module per task."""
    maml = import_maml()(module, lr=rate)

    def backward() -> None:
        for support_x, support_y, query_x, query_y in zip(*data, strict=True):
            learner = maml.clone()
            for _ in range(steps):
                learner.adapt(loss_fn(learner(support_x), support_y))
            (loss_fn(learner(query_x), query_y) / len(data.query_x)).backward()

    return backward


def with_higher(module: nn.Module, loss_fn: Any, steps: int, rate: float, data: Any) -> Callable[[], None]:
    """Opens an inner loop context per task."""
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)

    def backward() -> None:
        for support_x, support_y, query_x, query_y in zip(*data, strict=True):
            with higher.innerloop_ctx(module, optimizer, copy_initial_weights=False) as (adapted, inner):
                for _ in range(steps):
                    inner.step(loss_fn(adapted(support_x), support_y))
                (loss_fn(adapted(query_x), query_y) / len(data.query_x)).backward()

    return backward


def with_torchopt(module: nn.Module, loss_fn: Any, steps: int, rate: float, data: Any) -> Callable[[], None]:
    """Steps a differentiable optimiser and puts the initial state back after each task."""
    inner = torchopt.MetaSGD(module, lr=rate)

    def backward() -> None:
        losses = []
        initial, optimizer_state = (torchopt.extract_state_dict(part, by="reference") for part in (module, inner))
        for support_x, support_y, query_x, query_y in zip(*data, strict=True):
            for _ in range(steps):
                inner.step(loss_fn(module(support_x), support_y))
            losses.append(loss_fn(module(query_x), query_y))
            torchopt.recover_state_dict(module, initial)
            torchopt.recover_state_dict(inner, optimizer_state)
        torch.stack(losses).mean().backward()

    return backward


LIBRARIES = {"learn2learn": learn2learn, "higher": with_higher, "torchopt": with_torchopt}
