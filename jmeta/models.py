"""Models as two pure functions, from flax, equinox, or composed of parts.

The adapters are the only lines that know that a network library exists.
"""

import inspect
from typing import Any

import jax

from jmeta._types import EncoderHead, Model, Params


def compose(encoder: Model, head: Model) -> Model:
    """Chains a shared encoder and a task head; the parameters are an ``EncoderHead``."""

    def init(key: jax.Array, x: Any) -> Params:
        encoder_key, head_key = jax.random.split(key)
        params = encoder.init(encoder_key, x)
        features = jax.eval_shape(encoder.apply, params, x)
        features = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), features)
        return EncoderHead(params, head.init(head_key, features))

    def apply(params: Params, x: Any, *, key: jax.Array | None = None, mask: jax.Array | None = None) -> Any:
        encoder_key, head_key = (None, None) if key is None else jax.random.split(key)
        features = encoder.apply(params.encoder, x, key=encoder_key, mask=mask)
        return head.apply(params.head, features, key=head_key, mask=mask)

    return Model(init, apply, encoder.normalization)


def from_linen(module: Any, *, mixes_rows: bool = False) -> Model:
    """Turns a ``flax.linen`` module into a model.

    The module's ``__call__`` is given ``x`` and, where it has such parameters, ``mask`` (``[n]`` or None) and ``train`` (whether
    there is a key, which is then the ``dropout`` generator).

    Args:
      module: the module.
      mixes_rows: whether one row's output depends on other rows although the module has no ``mask`` parameter; padded
        batches are then refused.

    Raises:
      ValueError: from ``init``, if the module keeps hidden state (running statistics, caches).
    """
    parameters = inspect.signature(type(module).__call__).parameters
    takes_mask, takes_train = "mask" in parameters, "train" in parameters

    def options(key: jax.Array | None, mask: jax.Array | None) -> dict[str, Any]:
        _check_mask(mask, refuse=mixes_rows and not takes_mask, model=type(module).__name__)
        return ({"mask": mask} if takes_mask else {}) | ({"train": key is not None} if takes_train else {})

    def init(key: jax.Array, x: Any) -> Params:
        variables = dict(module.init(key, x, **options(None, None)))
        params = variables.pop("params", {})
        if variables:
            raise ValueError(
                f"module {type(module).__name__} keeps hidden state in {sorted(variables)}; expected parameters only: use a norm "
                "without running statistics, such as GroupNorm or jmeta.nn.BatchStatistics."
            )
        return params

    def apply(params: Params, x: Any, *, key: jax.Array | None = None, mask: jax.Array | None = None) -> Any:
        return module.apply({"params": params}, x, rngs=None if key is None else {"dropout": key}, **options(key, mask))

    return Model(init, apply, getattr(module, "normalization", "not stated"))


def from_nnx(constructor: Any, *, mixes_rows: bool = False) -> Model:
    """Turns a ``flax.nnx`` module into a model.

    Args:
      constructor: ``rngs -> module``, such as ``lambda rngs: MLP(1, 40, rngs=rngs)``.
      mixes_rows: as for :func:`from_linen`.

    Raises:
      ValueError: from ``init``, if the module keeps hidden state besides its random generators.
    """
    from flax import nnx

    pure = getattr(nnx, "as_pure", None) or nnx.pure

    def split(key: jax.Array) -> tuple[Any, Any, Any]:
        graph, params, generators, rest = nnx.split(constructor(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
        if jax.tree.leaves(rest):
            kinds = sorted({type(leaf).__name__ for _, leaf in rest.flat_state()})
            raise ValueError(
                f"constructor builds a module with hidden state ({', '.join(kinds)}); expected parameters only: use a norm without "
                "running statistics, such as GroupNorm or LayerNorm."
            )
        return graph, pure(params), (pure(generators), pure(rest))

    def init(key: jax.Array, x: Any) -> Params:
        del x
        return split(key)[1]

    def apply(params: Params, x: Any, *, key: jax.Array | None = None, mask: jax.Array | None = None) -> Any:
        # The graph is static, so only its shapes are traced here; the generators are made anew from the key of the call.
        graph, _, rest = split(jax.random.key(0) if key is None else key)
        # copy=True: merging by reference mutates across trace levels under grad and vmap.
        module = nnx.merge(graph, params, *rest, copy=True)
        module.eval() if key is None else module.train()
        takes_mask = "mask" in inspect.signature(type(module).__call__).parameters
        _check_mask(mask, refuse=mixes_rows and not takes_mask, model=type(module).__name__)
        return module(x, mask=mask) if takes_mask else module(x)

    return Model(init, apply)


def from_equinox(constructor: Any, *, mixes_rows: bool = False) -> Model:
    """Turns an equinox module, which is written for one example, into a model of batches.

    Args:
      constructor: ``key -> module``. The module is called with one row of ``x``, mapped over ``n``, and with a ``key`` where its
        ``__call__`` has that parameter.
      mixes_rows: call the module once with the whole batch instead, and refuse padded batches.

    Raises:
      ValueError: from ``init``, if the module keeps hidden state (a ``StateIndex``).
    """
    import equinox

    def split(key: jax.Array) -> tuple[Any, Any]:
        return equinox.partition(constructor(key), equinox.is_inexact_array)

    def init(key: jax.Array, x: Any) -> Params:
        del x
        params, static = split(key)
        is_state = lambda leaf: isinstance(leaf, equinox.nn.StateIndex)  # noqa: E731
        if any(map(is_state, jax.tree.leaves(static, is_leaf=is_state))):
            raise ValueError(
                "constructor builds a module with hidden state (StateIndex); expected parameters only: use a norm without "
                "running statistics, such as GroupNorm or LayerNorm."
            )
        return jax.tree.leaves(params)

    def apply(params: Params, x: Any, *, key: jax.Array | None = None, mask: jax.Array | None = None) -> Any:
        _check_mask(mask, refuse=mixes_rows, model="from_equinox(..., mixes_rows=True)")
        shapes, static = equinox.filter_eval_shape(split, jax.random.key(0))
        module = equinox.combine(jax.tree.unflatten(jax.tree.structure(shapes), params), static)
        module = equinox.nn.inference_mode(module, key is None)
        if "key" not in inspect.signature(type(module).__call__).parameters:
            return module(x) if mixes_rows else jax.vmap(module)(x)
        if mixes_rows or key is None:
            return module(x, key=key) if mixes_rows else jax.vmap(lambda row: module(row, key=None))(x)
        return jax.vmap(lambda row, key: module(row, key=key))(x, jax.random.split(key, len(x)))

    return Model(init, apply)


def _check_mask(mask: jax.Array | None, *, refuse: bool, model: str) -> None:
    if refuse and mask is not None:
        raise ValueError(
            f"model {model} mixes rows and takes no mask, so padded rows would change the real ones; expected a batch without a "
            "mask, or a module whose __call__ has a mask parameter."
        )
