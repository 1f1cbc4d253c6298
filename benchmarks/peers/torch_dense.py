"""Training of a hard-shared model of two tasks in plain PyTorch: loops over a ``DataLoader``, and over indices of tensors."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

Tensors = list[torch.Tensor]
Batch = tuple[torch.Tensor, ...]


def loss(params: Tensors, x: torch.Tensor, level: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
    """Adds up the losses of two heads on two dense layers."""
    weights = [tuple(params[index : index + 2]) for index in range(0, len(params), 2)]
    features = F.relu(F.linear(F.relu(F.linear(x, *weights[0])), *weights[1]))
    return F.cross_entropy(F.linear(features, *weights[2]), kind) + F.mse_loss(F.linear(features, *weights[3]), level)


def loaded(data: Batch, size: int) -> Iterator[Batch]:
    """Gives whole batches, epoch after epoch, as PyTorch's tutorials do it."""
    loader = DataLoader(TensorDataset(*data), batch_size=size, shuffle=True, drop_last=True, num_workers=0)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def indexed(data: Batch, size: int) -> Iterator[Batch]:
    """Gives whole batches of permuted rows, without a loader."""
    while True:
        for rows in torch.randperm(len(data[0]), device=data[0].device).split(size):
            if len(rows) == size:
                yield tuple(tensor[rows] for tensor in data)


BATCHES: dict[str, Callable[[Batch, int], Iterator[Batch]]] = {"torch": loaded, "torch-indexing": indexed}


def training(work: dict[str, Any], tensors: dict[str, torch.Tensor], peer: str) -> tuple[Callable[[], Tensors], Callable[[], None]]:
    """Builds the gradient of the first batch, and a step of Adam on the next batch."""
    params = [tensors[f"params_{index}"].clone().requires_grad_() for index in range(8)]
    data = (tensors["x"], tensors["level"], tensors["kind"])
    optimizer = torch.optim.Adam(params, lr=work["learning_rate"], fused=True)
    batches = BATCHES[peer](data, work["batch"])

    def gradient() -> Tensors:
        return list(torch.autograd.grad(loss(params, *(tensor[: work["batch"]] for tensor in data)), params))

    def step() -> None:
        optimizer.zero_grad()
        loss(params, *next(batches)).backward()
        optimizer.step()

    return gradient, step
