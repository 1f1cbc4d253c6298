"""What breaks a promise of aggregators is found; those that keep them are in tests/test_families.py."""

import functools

import jax
import jax.numpy as jnp
import pytest

import jmeta
from jmeta import aggregation, testing

SUM = aggregation.sum()
IN_ORDER = jmeta.pcgrad(shuffle=False)


def stateless(combine):
    """An aggregator of ``(gradients, present, key) -> gradient``."""
    return jmeta.Aggregator(
        lambda tasks: (), lambda gradients, state, *, losses, present, key: (combine(gradients, present, key), state)
    )


def weighted(weights):
    """An aggregator of ``(gramian, present, key) -> weights``."""
    return jmeta.weighted_by_gramian(lambda gramian, state, *, losses, present, key: (weights(gramian, present, key), state))


def remembering(move):
    """Adds, for more than one task, twice what ``move(state [tasks], squares [tasks], present)`` makes of a state of zeros."""

    def weigh(gramian, state, *, losses, present, key):
        del losses, key
        state = move(state, jnp.diagonal(gramian).astype(state.dtype), present)
        return 1 + 2 * (present.sum() > 1) * state, state

    return jmeta.weighted_by_gramian(weigh, jnp.zeros)


def moved_where_present(state, squares, present):
    return jnp.where(present, 0.5 * state + 0.5 * squares, state)


def moved_together(state, squares, present):
    """One number for all tasks, which falls where nobody is there."""
    mean = jnp.where(present, squares, 0).sum() / jnp.maximum(present.sum(), 1)
    return jnp.where(present.any(), 0.5 * state + 0.5 * mean, 0)


def moved_unless_nobody_is_there(state, squares, present):
    return jnp.where(present.any(), 0.5 * state + 0.5 * squares, state)


def with_doubled_weights(aggregator):
    return aggregator._replace(weigh=lambda *given, **known: (2 * aggregator.weigh(*given, **known)[0], ()))


def counting():
    """Adds more with every call, of which there is one a trace."""
    calls = []
    return stateless(
        lambda gradients, present, key: jax.tree.map(lambda leaf: (len(calls) or 1) * leaf.sum(axis=0), noted(calls, gradients))
    )


def noted(calls, gradients):
    calls.append(1)
    return gradients


def looking(gradients, present, key):
    leaves = jax.tree.leaves(gradients)
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) if leaves[0].sum() > 0 else leaf.max(axis=0), gradients)


def mean_of_all(gramian, present, key):
    """The absent too."""
    return jnp.full(len(present), 1 / len(present), gramian.dtype)


def by_lengths(power):
    """The sum of gradients whose lengths are brought together, of which a length of zero is taken to a negative power."""

    def weights(gramian, present, key):
        lengths = jnp.where(present, jnp.sqrt(jnp.diagonal(gramian)), 1)
        mean = jnp.where(present, lengths, 0).sum() / jnp.maximum(present.sum(), 1)
        mean = jnp.where(mean > 0, mean, 1)
        return jnp.where(present, (lengths / mean) ** power, 0)

    return weights


def of_length_one(gramian, present, key):
    """Unit gradients, added up and cut to length 1: no gradient's length matters."""
    lengths = jnp.sqrt(jnp.diagonal(gramian))
    weights = jnp.where(lengths > 0, 1 / jnp.where(lengths > 0, lengths, 1), 0)
    square = weights @ gramian @ weights
    return weights / jnp.sqrt(jnp.where(square > 1e-6, square, 1))


def shortest(gramian, present, key):
    """The shortest gradient alone."""
    lengths = jnp.where(present, jnp.diagonal(gramian), jnp.inf)
    return (jnp.arange(len(present)) == lengths.argmin()).astype(gramian.dtype)


def leaf_by_leaf(gradients, present, key):
    known = {"losses": present * 1.0, "present": present, "key": key}
    return jax.tree.map(lambda leaf: IN_ORDER.combine([leaf], (), **known)[0][0], gradients)


def added_one_by_one(gradients, present, key):
    """Rounded to the type of the leaf after each."""
    return jax.tree.map(lambda leaf: functools.reduce(lambda total, row: total + row, leaf), gradients)


def noisy(gramian, present, key):
    factor = jnp.where(present.sum() > 1, jax.random.uniform(key), 1)
    return jnp.full(len(present), factor, gramian.dtype)


def noisy_for_the_first(gramian, present, key):
    """Another mean for the first of several tasks than for the others."""
    several = present.sum() > 1
    first = (jnp.arange(len(present)) == present.argmax()) & several
    return jnp.where(first, jax.random.uniform(key), 1).astype(gramian.dtype)


def noisy_by_count(gramian, present, key):
    """Another mean where there are more tasks, though some of them are absent."""
    return jnp.full(len(present), jnp.where(present.sum() > 1, jax.random.uniform(key) * len(present) ** 2, 1), gramian.dtype)


def noisy_by_leaf(gradients, present, key):
    """Another mean where there are more leaves."""
    factor = jnp.where(present.sum() > 1, jax.random.uniform(key) * len(jax.tree.leaves(gradients)), 1)
    return jax.tree.map(lambda leaf: (factor * leaf.sum(axis=0)).astype(leaf.dtype), gradients)


def test_the_aggregators_that_are_broken_below_keep_their_promises():
    testing.check_aggregator(weighted(by_lengths(1)))
    testing.check_aggregator(remembering(moved_where_present), tolerance=1e-3)
    testing.check_aggregator(weighted(noisy), draws=True, linear_under_scaling=True, strongly_stationary=True)
    testing.check_aggregator(jmeta.pcgrad(shuffle=False), permutation_equivariant=False)


MUTANTS = {
    "the axis of tasks stays": (
        stateless(lambda gradients, present, key: gradients),
        r"combine must give a gradient like that of one task; got float32\[4, 1\]",
    ),
    "leaves get another type": (
        stateless(lambda gradients, present, key: jax.tree.map(lambda leaf: leaf.astype(float).sum(axis=0), gradients)),
        r"combine must give a gradient like that of one task; got .* expected .*bfloat16\[2, 2\]",
    ),
    "a state that cannot be carried": (
        jmeta.Aggregator(
            lambda tasks: jnp.zeros(()), lambda gradients, state, **known: (SUM.combine(gradients, state, **known)[0], state > 0)
        ),
        r"combine must give a state like that of init; got bool\[\], expected float32\[\]",
    ),
    "values are looked at": (stateless(looking), "combine must run under jit; got an error: Attempted boolean conversion"),
    "a counter of calls": (counting(), "combine must be a pure function, the same whenever it is traced"),
    "weights of something else": (with_doubled_weights(IN_ORDER), "weigh must give the weights of what combine gives"),
    "unit gradients": (
        weighted(lambda gramian, present, key: 1 / jnp.maximum(jnp.sqrt(jnp.diagonal(gramian)), 1e-6)),
        "combine must give the gradient of a task that is alone",
    ),
    "a direction of its own": (
        weighted(lambda gramian, present, key: -present.astype(gramian.dtype)),
        "combine must give the gradient of a task that is alone, unless own_length",
        {"own_length": True},
    ),
    "absent tasks are counted": (weighted(mean_of_all), "combine must give the gradient of a task that is alone|absent"),
    "the mean of nobody": (
        stateless(
            lambda gradients, present, key: jax.tree.map(
                lambda leaf: (leaf.sum(axis=0) / present.sum()).astype(leaf.dtype), gradients
            )
        ),
        "combine must give zeros where all tasks are absent; got other numbers",
    ),
    "a state that falls where nobody is there": (
        remembering(moved_together),
        "combine must leave the state as it is where all tasks are absent",
    ),
    "a state of absent tasks that falls": (
        remembering(moved_unless_nobody_is_there),
        "combine must leave the state of absent tasks as it is",
    ),
    "a division by a length": (
        weighted(by_lengths(-1)),
        "combine must be finite and leave a finite state, with gradients of zeros; got NaN or infinity",
    ),
    "surgery leaf by leaf": (stateless(leaf_by_leaf), "combine must not depend on how parameters are divided into leaves"),
    "sums in bfloat16": (stateless(added_one_by_one), "combine must compute in float32 at least and round once"),
    "a key that is used": (weighted(noisy), "must use its key exactly where draws says so; got draws=False and one that changes"),
    "a key that is not used": (
        SUM,
        "must use its key exactly where draws says so; got draws=True and one that ignores",
        {"draws": True},
    ),
    "an order": (IN_ORDER, "combine must not depend on the order of the tasks, unless permutation_equivariant=False"),
    "an order in expectation": (
        weighted(noisy_for_the_first),
        "combine must not depend on the order of the tasks.* got means over 256 keys that differ by",
        {"draws": True},
    ),
    "absent tasks in expectation": (
        weighted(noisy_by_count),
        "combine must treat absent tasks as if they were not there; got means over 256 keys",
        {"draws": True},
    ),
    "leaves in expectation": (
        stateless(noisy_by_leaf),
        "combine must not depend on how parameters are divided into leaves; got means over 256 keys",
        {"draws": True},
    ),
    "a conflict": (SUM, "combine must be non-conflicting; got a product of -", {"non_conflicting": True}),
    "lengths that are counted twice": (
        weighted(by_lengths(1)),
        "combine must be linear under scaling of the gradients",
        {"linear_under_scaling": True},
    ),
    "a length of 1": (
        weighted(of_length_one),
        "combine must be linear under scaling of the gradients",
        {"own_length": True, "linear_under_scaling": True},
    ),
    "a pair that hides the others": (
        weighted(shortest),
        "combine must be strongly stationary; got a gradient of 0 times the shortest, with one of zeros",
        {"strongly_stationary": True},
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_promises_are_found(name):
    aggregator, sentence, *options = MUTANTS[name]
    with pytest.raises(ValueError, match=sentence):
        testing.check_aggregator(aggregator, **dict(*options))
