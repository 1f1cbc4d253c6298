"""Models as two pure functions, from flax, equinox or functions of one's own.

The adapters are the only lines that know that a network library exists.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta._rows import count_rows
from jmeta._types import Key, Mask, Model, Params

# What functions of the user's are given, and the kinds of parameters that have a name.
_GIVEN = ("mask", "key", "rng", "train", "is_training", "deterministic")
_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def from_functions(
    init: Callable[..., Params], apply: Callable[..., Any], *, mixes_rows: bool = False, normalization: str = "not stated"
) -> Model:
    """Makes a model of two plain functions, such as those of Haiku or stax, or one's own.

    ``apply`` is given what its signature names: ``mask`` (``[n]`` or None), ``key`` or ``rng`` (None outside training), ``train``
    or ``is_training`` (whether there is a key) and ``deterministic`` (whether there is none). A parameter ``rng`` or ``key`` that
    comes second is given before ``x``, as ``haiku.transform`` has it.

    >>> model = from_functions(lambda key, x: jnp.ones(x.shape[-1]), lambda params, x: x @ params)
    >>> model.apply(model.init(jax.random.key(0), jnp.ones((3, 2))), jnp.ones((3, 2))).tolist()
    [2.0, 2.0, 2.0]

    Args:
      init: ``(key, x) -> params``; stax wants a shape: ``lambda key, x: stax_init(key, x.shape)[1]``.
      apply: ``(params, x, ...) -> outputs``, leaves ``[n, ...]``.
      mixes_rows: whether one row's output depends on other rows although ``apply`` takes no ``mask``; padded batches are then
        refused.
      normalization: what the activations are normalised with, for reports.

    Raises:
      ValueError: if one of them is no function, or ``apply`` needs something else, such as a state; from ``apply``, for a padded
        batch that it cannot honour.
    """
    for name, function in (("init", init), ("apply", apply)):
        if not callable(function):
            raise ValueError(f"{name} must be a function; got {type(function).__name__}.")
    parameters = inspect.signature(apply).parameters
    if [*parameters][1:3] == ["state", "rng"]:
        raise ValueError(_hidden_state("apply", ["state"]))
    key_first = [*parameters][1:2] in (["rng"], ["key"])
    needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty and parameter.kind in _NAMED]
    if unknown := [name for name in needed[3 if key_first else 2 :] if name not in _GIVEN]:
        raise ValueError(f"apply must need parameters, x and {', '.join(_GIVEN)} alone; got one that needs {', '.join(unknown)}.")

    def call(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        _check_mask(mask, refuse=mixes_rows and "mask" not in parameters, model=getattr(apply, "__name__", "apply"))
        known = {"mask": mask, "train": key is not None, "is_training": key is not None, "deterministic": key is None}
        known |= {} if key_first else {"key": key, "rng": key}
        asked = {name: value for name, value in known.items() if name in parameters}
        return apply(params, key, x, **asked) if key_first else apply(params, x, **asked)

    return Model(init, call, normalization)


def from_linen(module: Any, *, mixes_rows: bool = False) -> Model:
    """Turns a ``flax.linen`` module into a model.

    The module's ``__call__`` is given ``x`` and, where it has such parameters, ``mask`` (``[n]`` or None), ``train`` (whether there
    is a key, which is then the ``dropout`` generator) and ``deterministic`` (whether there is none).

    Args:
      module: the module.
      mixes_rows: whether one row's output depends on other rows although the module has no ``mask`` parameter; padded
        batches are then refused.

    Raises:
      ValueError: if it is no such module; from ``init``, if it keeps hidden state (running statistics, caches); from ``apply``, if
        ``x`` does not fit the parameters.
    """
    from flax import linen
    from flax.errors import ScopeParamShapeError

    if not isinstance(module, linen.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ValueError(f"module must be a flax.linen module that is made already, such as linen.Dense(1); got {kind}.")
    name, parameters = type(module).__name__, inspect.signature(type(module).__call__).parameters

    def options(key: Key, mask: Mask) -> dict[str, Any]:
        _check_mask(mask, refuse=mixes_rows and "mask" not in parameters, model=name)
        known = {"mask": mask, "train": key is not None, "deterministic": key is None}
        return {option: value for option, value in known.items() if option in parameters}

    def init(key: jax.Array, x: Any) -> Params:
        variables = dict(module.init(key, x, **options(None, None)))
        params = variables.pop("params", {})
        if variables:
            raise ValueError(_hidden_state(f"module {name}", variables))
        return params

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        try:
            return module.apply({"params": params}, x, rngs=None if key is None else {"dropout": key}, **options(key, mask))
        except ScopeParamShapeError as error:
            shapes = [leaf.shape for leaf in jax.tree.leaves(x)]
            raise ValueError(
                f"x must have the shape that {name} was initialised for; got {shapes} ({str(error).partition(' (http')[0]})."
            ) from error

    return Model(init, apply, getattr(module, "normalization", "not stated"))


def from_nnx(constructor: Any, *, mixes_rows: bool = False) -> Model:
    """Turns a ``flax.nnx`` module into a model.

    Args:
      constructor: ``rngs -> module``, such as ``lambda rngs: MLP(1, 40, rngs=rngs)``. It is called once for the structure, without
        computing anything, and by each ``init``. With a key every random generator of the module starts anew from it.
      mixes_rows: as for :func:`from_linen`.

    Raises:
      ValueError: if the module keeps hidden state besides its random generators, or is given ready-made.
    """
    from flax import nnx

    if isinstance(constructor, nnx.Module):
        raise ValueError(_instance(constructor, "lambda rngs: MLP(1, 40, rngs=rngs)"))
    pure = getattr(nnx, "as_pure", None) or nnx.pure

    def split(module: Any) -> tuple[Any, Any, Any, Any]:
        graph, params, generators, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        if jax.tree.leaves(rest):
            raise ValueError(_hidden_state("constructor", {type(leaf).__name__ for _, leaf in nnx.to_flat_state(rest)}))
        return graph, pure(params), pure(generators), pure(rest)

    module = nnx.eval_shape(lambda: constructor(nnx.Rngs(0)))
    graph, _, generators, rest = split(module)
    takes_mask, name = "mask" in inspect.signature(type(module).__call__).parameters, type(module).__name__

    def seeded(key: jax.Array) -> Any:
        leaves, structure = jax.tree.flatten(generators)
        return jax.tree.unflatten(structure, [_fresh(leaf, jax.random.fold_in(key, index)) for index, leaf in enumerate(leaves)])

    def init(key: jax.Array, x: Any) -> Params:
        del x
        return split(constructor(nnx.Rngs(key)))[1]

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        _check_mask(mask, refuse=mixes_rows and not takes_mask, model=name)
        # copy=True: a merge by reference would mutate the generators of another trace level under grad and vmap.
        module = nnx.merge(graph, params, seeded(jax.random.key(0) if key is None else key), rest, copy=True)
        module.eval() if key is None else module.train()
        return module(x, mask=mask) if takes_mask else module(x)

    return Model(init, apply, getattr(module, "normalization", "not stated"))


def from_equinox(constructor: Any, *, mixes_rows: bool = False) -> Model:
    """Turns an equinox module, which is written for one example, into a model of batches.

    The parameters are the module with its floating-point arrays alone; everything else in it is constant.

    Args:
      constructor: ``key -> module``; it is called once for the constants and by each ``init``. The module is called with one row
        of ``x``, mapped over ``n``, and with a ``key`` where its ``__call__`` has that parameter.
      mixes_rows: call the module once with the whole batch instead, and refuse padded batches.

    Raises:
      ValueError: if the module keeps hidden state (a ``StateIndex``), or is given ready-made.
    """
    import equinox

    if isinstance(constructor, equinox.Module):
        raise ValueError(_instance(constructor, "lambda key: MLP(1, 1, 40, 2, key=key)"))

    def split(key: jax.Array) -> tuple[Any, Any]:
        return equinox.partition(constructor(key), equinox.is_inexact_array)

    static = split(jax.random.key(0))[1]
    is_state = lambda leaf: isinstance(leaf, equinox.nn.StateIndex)  # noqa: E731
    if any(map(is_state, jax.tree.leaves(static, is_leaf=is_state))):
        raise ValueError(_hidden_state("constructor", ["StateIndex"]))
    takes_key, name = "key" in inspect.signature(type(static).__call__).parameters, type(static).__name__

    def init(key: jax.Array, x: Any) -> Params:
        del x
        return split(key)[0]

    def apply(params: Params, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        _check_mask(mask, refuse=mixes_rows, model=name)
        module = equinox.nn.inference_mode(equinox.combine(params, static), key is None)
        if not takes_key:
            return module(x) if mixes_rows else jax.vmap(module)(x)
        if mixes_rows or key is None:
            return module(x, key=key) if mixes_rows else jax.vmap(lambda row: module(row, key=None))(x)
        return jax.vmap(lambda row, key: module(row, key=key))(x, jax.random.split(key, count_rows(x)))

    return Model(init, apply, getattr(static, "normalization", "not stated"))


def _fresh(leaf: jax.ShapeDtypeStruct, key: jax.Array) -> jax.Array:
    """Makes a generator's state: a key, or a count of what was drawn."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.split(key, leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)


def _instance(module: Any, example: str) -> str:
    return f"constructor must be a function that makes the module, such as {example}; got a {type(module).__name__} made already."


def _hidden_state(what: str, kinds: Iterable[str]) -> str:
    return (
        f"{what} must keep parameters only; got hidden state ({', '.join(sorted(kinds))}): use a norm without running "
        "statistics, such as GroupNorm, LayerNorm or jmeta.nn.BatchStatistics."
    )


def _check_mask(mask: Mask, *, refuse: bool, model: str) -> None:
    if refuse and mask is not None:
        raise ValueError(
            f"model {model} mixes rows and takes no mask, so padded rows would change the real ones; expected a batch without a "
            "mask, or a module whose __call__ has a mask parameter."
        )
