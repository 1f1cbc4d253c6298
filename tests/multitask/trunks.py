"""Two ways of sharing of one's own: with scales for each task above common features, and with shifts below them."""

import jax
import jax.numpy as jnp

import jmeta


def scaled(encoder, tasks):
    """The encoder runs once; each task reads its features at a scale of its own."""

    def init(key, x):
        shared = encoder.init(key, next(iter(x.values())))
        return jmeta.EncoderHead(shared, {name: (1 + at) * jnp.ones(()) for at, name in enumerate(x)})

    def encode(shared, x, *, key=None, mask=None):
        return encoder.apply(shared, x, key=key, mask=mask)

    def features(params, representation, name, *, key=None, mask=None):
        assert params.encoder is None
        return params.head * representation

    return jmeta.multitask_model(jmeta.Trunk(init, features, encode), tasks)


def conditioned(encoder, tasks):
    """The encoder runs for each task, on inputs that are shifted for it: there is nothing that all of them read."""

    def init(key, x):
        first = next(iter(x.values()))
        own = {name: jax.random.normal(part, first.shape[1:]) for name, part in zip(x, jax.random.split(key, len(x)), strict=True)}
        return jmeta.EncoderHead(encoder.init(key, first), own)

    def features(params, x, name, *, key=None, mask=None):
        return encoder.apply(params.encoder, x + params.head[None], key=key, mask=mask)

    return jmeta.multitask_model(jmeta.Trunk(init, features), tasks)
