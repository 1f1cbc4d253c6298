"""What cross-stitch and sluice networks are made of: a tower of the same stages for each task, and units that mix them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jmeta._composition import check_channels, init_stages, keys_of
from jmeta._rows import trailing
from jmeta._sentences import kinds, shapes
from jmeta._types import EncoderHead, Key, Mask, Model, Params

# (the unit of a stage, what the towers give) -> what they go on with.
Mix = Callable[[jax.Array, dict[str, jax.Array]], dict[str, jax.Array]]


class Stitched(NamedTuple):
    """What such networks share.

    Attributes:
      towers: by task, in the order of the names, the parameters of each stage.
      units: of each stage but the last, whose rows are the tasks' own.
    """

    towers: Any
    units: Any


def unit_labels(params: EncoderHead) -> EncoderHead:
    """Labels parts of the parameters: ``"units"`` where they mix towers, ``"weights"`` elsewhere, for ``optax.partition``.

    Raises:
      ValueError: if they are not those of cross-stitch or sluice networks.
    """
    if not isinstance(params, EncoderHead) or not isinstance(params.encoder, Stitched):
        raise ValueError(f"params must be those of cross-stitch or sluice networks; got {type(params).__name__}.")
    return EncoderHead(Stitched("weights", "units"), dict.fromkeys(params.head, EncoderHead("units", "weights")))


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
    check_channels(outputs, "whose channels are mixed")
    return towers, outputs


def run_towers(
    stages: Sequence[Model], shared: Stitched, x: Any, mix: Mix, *, key: Key, mask: Mask
) -> tuple[list[dict[str, jax.Array]], dict[str, jax.Array]]:
    """Sends an input through all towers.

    One tower after another: under ``vmap`` a convolution with weights of its own for each is slow on the CPU.

    Returns:
      What is mixed after each stage but the last, by task, and what the last stage gives.
    """
    streams: dict[str, Any] = dict.fromkeys(shared.towers, x)
    below = []
    for depth, stage_key in enumerate(keys_of(key, len(stages))):
        keys = keys_of(stage_key, len(streams))
        streams = {
            name: stages[depth].apply(tower[depth], streams[name], key=tower_key, mask=mask)
            for (name, tower), tower_key in zip(shared.towers.items(), keys, strict=True)
        }
        if depth < len(stages) - 1:
            streams = mix(shared.units[depth], streams)
            below.append(streams)
    return below, streams


def weighted_sum(weights: jax.Array, streams: Mapping[Any, jax.Array]) -> jax.Array:
    """Adds up streams ``[n, ..., channels]``, each times its row of ``weights [tasks, channels or 1]``."""
    terms = []
    for at, stream in enumerate(streams.values()):
        terms.append(trailing(weights[at], stream).astype(stream.dtype) * stream)
    return sum(terms[1:], terms[0])


def _row(x: Any) -> Any:
    return jax.tree.structure(x), [shape[1:] for shape in map(shapes, jax.tree.leaves(x))]
