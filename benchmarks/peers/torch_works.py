"""The works in PyTorch: loops over autograd, torch.func, prototypical networks, TorchJD's aggregators, a loader's batches."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.func import grad, vmap
from torch.nn import functional as F  # noqa: N812

from benchmarks.peers import torch_aggregators, torch_dense, torch_libraries

Tensors = list[torch.Tensor]


class Contender(NamedTuple):
    """``gradient()`` at the parameters of now, and ``step()``, which does the work once."""

    gradient: Callable[[], Tensors]
    step: Callable[[], Any]


class Tasks(NamedTuple):
    """A batch of tasks, leaves ``[tasks, n, ...]``."""

    support_x: torch.Tensor
    support_y: torch.Tensor
    query_x: torch.Tensor
    query_y: torch.Tensor


def contenders(work: dict[str, Any], arrays: dict[str, Any], device: str) -> dict[str, Contender]:
    """Builds the contenders ``PEER/LAYOUT`` of a work from its arrays."""
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    if work["kind"] == "aggregation":
        return aggregation(work, tensors)
    if work["kind"] == "dense":
        return {f"{peer}/contiguous": Contender(*torch_dense.training(work, tensors, peer)) for peer in work["peers"]}
    params = [tensors[f"params_{index}"] for index in range(sum(name.startswith("params_") for name in tensors))]
    data = Tasks(*(images_first(tensors[name]) for name in Tasks._fields))
    build = {"maml": maml, "prototypical": prototypical}[work["kind"]]
    found = {}
    for layout in work["layouts"]:
        for peer in work["peers"]:
            # vmap does not keep the layout of channels-last weights.
            if peer != "torch.func" or layout == "contiguous":
                found[f"{peer}/{layout}"] = build(peer, work, [of_layout(param, layout) for param in params], data)
    return found


def images_first(x: torch.Tensor) -> torch.Tensor:
    """Moves the channels of images ``[tasks, n, height, width, channels]`` to where PyTorch has them."""
    return x.movedim(-1, 2).contiguous() if x.ndim == 5 else x


def of_layout(param: torch.Tensor, layout: str) -> torch.Tensor:
    """Copies a parameter; one channels-last operand is enough for PyTorch to convolve in that layout."""
    param = param.clone()
    return param.to(memory_format=torch.channels_last) if param.ndim == 4 and layout == "channels_last" else param


def perceptron(params: Tensors, x: torch.Tensor) -> torch.Tensor:
    """Applies dense layers with ReLU between them."""
    for index in range(0, len(params) - 2, 2):
        x = F.relu(F.linear(x, params[index], params[index + 1]))
    return F.linear(x, params[-2], params[-1])


def batch_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Normalises with the statistics of the batch."""
    return F.batch_norm(x, None, None, scale, shift, training=True)


def batch_norm_by_hand(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Does the same in plain operations: the second derivative of PyTorch's own under vmap is off by 4e-3, in float64 too."""
    centered = x - x.mean((0, 2, 3), keepdim=True)
    variance = centered.square().mean((0, 2, 3), keepdim=True)
    return centered * (torch.rsqrt(variance + 1e-5) * scale[:, None, None]) + shift[:, None, None]


def convolutional(params: Tensors, x: torch.Tensor, normalise: Callable[..., torch.Tensor] = batch_norm) -> torch.Tensor:
    """Applies four strided convolutions with statistics of the batch, and a linear head."""
    for index in range(0, 16, 4):
        weight, bias, scale, shift = params[index : index + 4]
        x = F.relu(normalise(F.conv2d(x, weight, bias, stride=2, padding=1), scale, shift))
    return F.linear(x.flatten(1), params[-2], params[-1])


def pooled(params: Tensors, x: torch.Tensor) -> torch.Tensor:
    """Applies four convolutions with statistics of the batch, each followed by pooling."""
    for index in range(0, 16, 4):
        weight, bias, scale, shift = params[index : index + 4]
        x = F.conv2d(x, weight, bias, padding=1)
        x = F.max_pool2d(F.relu(batch_norm(x, scale, shift)), 2)
    return x.flatten(1)


NETWORKS = {"perceptron": perceptron, "convolutional": convolutional, "pooled": pooled}
LOSSES = {"perceptron": F.mse_loss, "convolutional": F.cross_entropy}


def maml(peer: str, work: dict[str, Any], params: Tensors, data: Tasks) -> Contender:
    """Builds a whole step of MAML: meta-gradient and Adam."""
    loss_fn, steps, rate = LOSSES[work["network"]], work["inner_steps"], work["inner_learning_rate"]
    if peer in torch_libraries.LIBRARIES:
        module = torch_libraries.module_of(work["network"], params)
        backward = torch_libraries.LIBRARIES[peer](module, loss_fn, steps, rate, data)
        return stepped(list(module.parameters()), backward, work["learning_rate"])
    leaves = [param.requires_grad_() for param in params]
    build = {"torch": loop, "torch.func": functional}[peer]
    backward = build(NETWORKS[work["network"]], loss_fn, steps, rate, leaves, data)
    return stepped(leaves, backward, work["learning_rate"])


def stepped(params: Tensors, backward: Callable[[], Any], learning_rate: float) -> Contender:
    """Puts Adam behind what accumulates gradients in ``params``."""
    optimizer = torch.optim.Adam(params, lr=learning_rate, fused=True)

    def gradient() -> Tensors:
        optimizer.zero_grad()
        backward()
        return [param.grad for param in params]

    def step() -> None:
        gradient()
        optimizer.step()

    return Contender(gradient, step)


def loop(apply: Any, loss_fn: Any, steps: int, rate: float, params: Tensors, data: Tasks) -> Callable[[], None]:
    """Loops over the tasks with ``autograd.grad(create_graph=True)`` inside."""

    def backward() -> None:
        for support_x, support_y, query_x, query_y in zip(*data, strict=True):
            adapted = params
            for _ in range(steps):
                inner = torch.autograd.grad(loss_fn(apply(adapted, support_x), support_y), adapted, create_graph=True)
                adapted = [param - rate * change for param, change in zip(adapted, inner, strict=True)]
            (loss_fn(apply(adapted, query_x), query_y) / len(data.query_x)).backward()

    return backward


def functional(apply: Any, loss_fn: Any, steps: int, rate: float, params: Tensors, data: Tasks) -> Callable[[], None]:
    """Maps the tasks with ``vmap`` and differentiates with ``grad``."""
    if apply is convolutional:
        apply = functools.partial(convolutional, normalise=batch_norm_by_hand)

    def task_loss(params: Tensors, support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> torch.Tensor:
        for _ in range(steps):
            inner = grad(lambda adapted: loss_fn(apply(adapted, support_x), support_y))(params)
            params = [param - rate * change for param, change in zip(params, inner, strict=True)]
        return loss_fn(apply(params, query_x), query_y)

    meta_gradient = grad(lambda params: vmap(functools.partial(task_loss, params))(*data).mean())

    def backward() -> None:
        for param, change in zip(params, meta_gradient([param.detach() for param in params]), strict=True):
            param.grad = change

    return backward


def prototypical(peer: str, work: dict[str, Any], params: Tensors, data: Tasks) -> Contender:
    """Builds a whole step of prototypical networks on one episode, support and query encoded apart."""
    del peer
    leaves = [param.requires_grad_() for param in params]
    support_x, support_y, query_x, query_y = (tensor[0] for tensor in data)

    def backward() -> None:
        members = F.one_hot(support_y, work["ways"]).to(support_x.dtype)
        prototypes = members.T @ pooled(leaves, support_x) / members.sum(0)[:, None]
        logits = -(pooled(leaves, query_x)[:, None] - prototypes[None]).square().sum(-1)
        F.cross_entropy(logits, query_y).backward()

    return stepped(leaves, backward, work["learning_rate"])


def aggregation(work: dict[str, Any], tensors: dict[str, torch.Tensor]) -> dict[str, Contender]:
    """Builds one of TorchJD's aggregators over ``gradients [tasks, parameters]``, or those of several steps, one after another."""
    gradients = tensors["gradients"]
    history = gradients if gradients.ndim == 3 else gradients[None]
    aggregator = torch_aggregators.make(work)

    def gradient() -> Tensors:
        return [torch_aggregators.without_chance(torch_aggregators.make(work), history, tensors.get("draws"))]

    return {"torchjd/contiguous": Contender(gradient, lambda: aggregator(gradients))}
