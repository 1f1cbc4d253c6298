"""N-way K-shot episodes from labelled arrays that live on the device (Vinyals et al., 2016, 1606.04080, section 4.1)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jmeta._options import check_counts
from jmeta._rows import count_rows
from jmeta._sentences import kinds, shapes
from jmeta._types import Batch, Episode, Sampler
from jmeta._validation import check_numbers, check_storable


def from_arrays(x: Any, y: ArrayLike, *, ways: int, shots: int, queries: int, rotations: bool = False) -> Sampler:
    """Draws classification episodes: ``ways`` classes in random order, ``shots`` and ``queries`` examples of each.

    Support and query are disjoint and balanced, drawn without replacement, grouped by class; an episode's labels are
    ``0, ..., ways - 1``. uint8 images stay so on the device and become floats in [0, 1] in the episode.

    Args:
      x: ``[n, ...]`` examples, or a pytree of such arrays.
      y: ``[n]`` integer labels; any integers.
      ways: classes of an episode.
      shots: support examples per class.
      queries: query examples per class.
      rotations: make each class four, rotated by 0, 90, 180 and 270 degrees; ``x`` must be square images ``[n, s, s, channels]``.

    Raises:
      ValueError: if shapes do not match, labels are not integers, ``x`` holds something else than finite numbers, counts are no
        whole numbers of at least 1, there are fewer classes than ``ways``, or a class has fewer than ``shots + queries`` examples.
    """
    examples, labels = on_host("x", x), np.asarray(y)
    _check_arrays(examples, labels)
    check_counts(ways=ways, shots=shots, queries=queries)
    classes, counts = np.unique(labels, return_counts=True)
    order = np.argsort(labels, kind="stable")
    rows = np.zeros((len(classes), counts.max()), np.int64)
    for row, members in zip(rows, np.split(order, np.cumsum(counts)[:-1]), strict=True):
        row[: len(members)] = members
    grouped = jax.tree.map(lambda leaf: leaf[rows], examples)
    return from_classes(grouped, counts, ways=ways, shots=shots, queries=queries, rotations=rotations, names=classes)


def from_classes(
    x: Any,
    counts: np.ndarray,
    *,
    ways: int,
    shots: int,
    queries: int,
    rotations: bool = False,
    names: Any = None,
) -> Sampler:
    """Draws episodes as :func:`from_arrays` does, from examples that are grouped already.

    Args:
      x: ``[classes, examples, ...]``, padded to one number of examples, or a pytree of such arrays.
      counts: ``[classes]``, how many of them are real.
      ways: classes of an episode.
      shots: support examples per class.
      queries: query examples per class.
      rotations: make each class four, rotated by quarter turns.
      names: what to call a class in an error; its index by default.

    Raises:
      ValueError: as :func:`from_arrays`.
    """
    check_counts(ways=ways, shots=shots, queries=queries)
    classes, most = jax.tree.leaves(x)[0].shape[:2]
    if np.shape(counts) != (classes,) or np.max(counts) > most:
        raise ValueError(f"counts must be [classes], at most {most} examples for each of {classes} classes; got {counts}.")
    available = classes * (4 if rotations else 1)
    if ways > available:
        raise ValueError(f"ways must be at most the number of classes; got ways={ways} and {available} classes.")
    if counts.min() < shots + queries:
        worst = int(counts.argmin())
        name = worst if names is None else names[worst]
        raise ValueError(
            f"shots + queries must be at most the examples of every class; got {shots} + {queries} and class {name} with "
            f"{counts[worst]}."
        )
    if rotations and (not hasattr(x, "ndim") or x.ndim != 5 or x.shape[2] != x.shape[3]):
        raise ValueError(f"rotations need square images [n, size, size, channels]; got {kinds(x)} by class.")
    data = {"x": jax.tree.map(jnp.asarray, x), "counts": jnp.asarray(counts)}

    def sample(data: dict[str, Any], key: jax.Array) -> Episode:
        class_key, example_key = jax.random.split(key)
        chosen = jax.lax.top_k(jax.random.uniform(class_key, (available,)), ways)[1]
        turns, chosen = (chosen // classes, chosen % classes) if rotations else (None, chosen)
        ranks = jax.random.uniform(example_key, (ways, most))
        ranks = jnp.where(jnp.arange(most)[None] < data["counts"][chosen][:, None], ranks, -1)
        examples = jax.lax.top_k(ranks, shots + queries)[1]
        drawn = jax.tree.map(lambda leaf: as_float(leaf[chosen[:, None], examples]), data["x"])
        drawn = drawn if turns is None else jax.vmap(_rotate)(drawn, turns)
        labels = jnp.tile(jnp.arange(ways)[:, None], shots + queries)

        def rows(start: int, stop: int) -> Batch:
            parts = jax.tree.map(lambda leaf: leaf[:, start:stop], (drawn, labels))
            return Batch(*jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), parts))

        return Episode(rows(0, shots), rows(shots, shots + queries), jnp.ones(ways, bool))

    return Sampler(data, sample)


def on_host(name: str, values: Any) -> Any:
    """Makes NumPy arrays of an array, a list of numbers, or a pytree of arrays.

    Raises:
      ValueError: if something is not made of numbers.
    """
    if isinstance(values, list):
        try:
            values = np.asarray(values)
        except ValueError as error:
            raise ValueError(f"{name} must have rows of one shape; got a list of different ones.") from error
    check_numbers(name, values)
    return jax.tree.map(np.asarray, values)


def _rotate(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Turns images ``[n, s, s, channels]`` counter-clockwise by ``turns`` quarters."""
    return jax.lax.switch(turns, [lambda images, k=k: jnp.rot90(images, k, axes=(1, 2)) for k in range(4)], images)


def as_float(x: jax.Array) -> jax.Array:
    """Turns bytes into floats in [0, 1], and leaves everything else."""
    # A product: XLA turns a division by a constant into one under jit only, and the episode would differ in the last bit.
    return x * jnp.asarray(1 / 255, float) if x.dtype == jnp.uint8 else x


def _check_arrays(x: Any, y: np.ndarray) -> None:
    if y.ndim != 1 or any(leaf.shape[:1] != y.shape for leaf in jax.tree.leaves(x)):
        raise ValueError(f"y must be [n] with one label per row of x; got y {y.shape} and x {shapes(x)}.")
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y must hold integer labels; got dtype {y.dtype}.")
    if not count_rows(x):
        raise ValueError("x must hold at least one example; got none.")
    if any(0 in leaf.shape for leaf in jax.tree.leaves(x)):
        raise ValueError(f"x must hold at least one number per example; got {shapes(x)}.")
    check_storable("x", x)
