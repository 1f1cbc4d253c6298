"""What cross-stitch and sluice networks are made of: a tower of the same stages for each task, and units that mix them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jmeta._composition import init_stages
from jmeta._sentences import kinds, shapes
from jmeta._types import EncoderHead, Model, Params


class Stitched(NamedTuple):
    """What such networks share.

    Attributes:
      towers: by task, the parameters of each stage.
      units: of each stage but the last, whose rows are the tasks' own.
    """

    towers: dict[str, list[Params]]
    units: list[jax.Array]


def unit_labels(params: EncoderHead) -> EncoderHead:
    """Labels parameters ``"units"`` where they mix towers and ``"weights"`` elsewhere, for ``optax.partition``.

    Raises:
      ValueError: if they are not those of cross-stitch or sluice networks.
    """
    if not isinstance(params, EncoderHead) or not isinstance(params.encoder, Stitched):
        raise ValueError(f"params must be those of cross-stitch or sluice networks; got {type(params).__name__}.")
    shared = Stitched(_labelled(params.encoder.towers, "weights"), _labelled(params.encoder.units, "units"))
    heads = {name: EncoderHead(_labelled(own, "units"), _labelled(head, "weights")) for name, (own, head) in params.head.items()}
    return EncoderHead(shared, heads)


def init_towers(stages: Sequence[Model], key: jax.Array, x: Mapping[str, Any]) -> tuple[dict[str, list[Params]], list[jax.Array]]:
    """Makes the parameters of a tower for each task, and zeros of the shapes of what each stage gives.

    Raises:
      ValueError: if inputs differ in shape but for their rows, or a stage gives anything but one array with channels.
    """
    (first, like), *others = x.items()
    for name, given in others:
        if _row(given) != _row(like):
            got = f"{kinds(given)} of {name} and {kinds(like)} of {first}"
            raise ValueError(f"inputs must have one shape to go through all towers; got {got}.")
    towers, outputs = {}, []
    for name, tower_key in zip(x, jax.random.split(key, len(x)), strict=True):
        towers[name], outputs = init_stages("stages", stages, tower_key, like)
    for at, found in enumerate(outputs):
        if not hasattr(found, "ndim") or found.ndim < 2:
            raise ValueError(f"stages[{at}] must give one array [n, ..., channels], whose channels are mixed; got {kinds(found)}.")
    return towers, outputs


def weighted_sum(weights: jax.Array, streams: Mapping[Any, jax.Array]) -> jax.Array:
    """Adds up streams ``[n, ..., channels]``, each times its row of ``weights [tasks, channels or 1]``."""
    terms = []
    for at, stream in enumerate(streams.values()):
        terms.append(weights[at].reshape(*[1] * (stream.ndim - 1), -1).astype(stream.dtype) * stream)
    return sum(terms[1:], terms[0])


def _row(x: Any) -> Any:
    return jax.tree.structure(x), [shape[1:] for shape in map(shapes, jax.tree.leaves(x))]


def _labelled(tree: Params, label: str) -> Any:
    return jax.tree.map(lambda leaf: label, tree)
