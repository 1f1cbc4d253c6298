"""What every learner promises: a new algorithm adds one row. And what breaks a promise is found."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

import jmeta
from jmeta import testing
from jmeta.nn import MemoryCell

KEY = jax.random.key(0)
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def dense(*sizes, dropout=0.0):
    """A tanh network in the precision of the test, as two bare functions."""

    def init(key, x):
        del key
        widths = zip((x.shape[-1], *sizes[:-1]), sizes, strict=True)
        return {f"layer_{at}": jnp.sin(1.0 + jnp.arange(a * b)).reshape(a, b) for at, (a, b) in enumerate(widths)}

    def apply(params, x, *, key=None, mask=None):
        del mask
        *hidden, last = params.values()
        for kernel in hidden:
            x = jnp.tanh(x @ kernel)
        if key is not None and dropout:
            x = jnp.where(jax.random.bernoulli(key, 1 - dropout, x.shape), x / (1 - dropout), 0)
        return x @ last

    return jmeta.Model(init, apply)


def of_trees():
    """A model whose inputs and outputs are trees."""
    inner = dense(4, 2)

    def together(x):
        return jnp.concatenate([x["left"], x["right"]], axis=1)

    def apply(params, x, *, key=None, mask=None):
        outputs = inner.apply(params, together(x), key=key, mask=mask)
        return {"mean": outputs[:, :1], "deviation": jax.nn.softplus(outputs[:, 1:])}

    return jmeta.Model(lambda key, x: inner.init(key, together(x)), apply)


def likelihood(outputs, targets):
    return jnp.square((targets - outputs["mean"]) / (0.1 + outputs["deviation"])) + jnp.log(0.1 + outputs["deviation"])


@functools.cache
def regression():
    return jmeta.sinusoid(shots=3, queries=3)


@functools.cache
def classification():
    """One example of each class."""
    x = jax.random.normal(KEY, (20, 4))
    return jmeta.from_arrays(x, jnp.repeat(jnp.arange(4), 5), ways=3, shots=1, queries=2)


def changed(sampler, change):
    return jmeta.Sampler(sampler.data, lambda data, key: change(sampler.sample(data, key)))


@functools.cache
def trees():
    def of(batch):
        return batch._replace(x={"left": batch.x, "right": batch.x**2 / 10})

    return changed(regression(), lambda episode: jmeta.Episode(of(episode.support), of(episode.query)))


@functools.cache
def padded():
    return changed(classification(), lambda episode: jmeta.pad_episode(episode, support=5, query=8, ways=3))


def numbers():
    """Regression for learners that predict a mean and a deviation."""
    return regression()


def relations():
    """Classification for learners that score relations."""
    return classification()


def unified(model, loss_fn, **options):
    encoder, strategies = jmeta.attention_task_encoder(embedding=3, width=4), jmeta.attention_meta_learner(experiences=2, width=2)
    return jmeta.unified_learner(model, loss_fn, encoder, strategies, num_steps=2, **options)


HEADS = jmeta.EncoderHead(dense(4, 3), dense(3))
LATENT = jmeta.EncoderHead(dense(4), dense(4))
RELATION = jmeta.EncoderHead(dense(4, 3), dense(4, 1))
PAIRS = {"own_objective": True}
CELL = MemoryCell(units=4, slots=5, width=3, reads=2)
SNAIL = {"length": 8, "attentions": ((3, 2), (3, 2)), "filters": 2}
ATTENTION = {"query": dense(3), "width": 4, "heads": 2}
IN_ORDER = {"uses_support_order": True}
DRAWN_ORDER = {"uses_support_order": True, "draws": "always"}
BOUND = {"own_objective": True, "draws": "training"}
SGD = optax.sgd(0.1)
IMPLICIT = jmeta.implicit(proximal_strength=1.0)
LAST = {"layer_0": False, "layer_1": True}

LEARNERS = {
    "maml": (jmeta.maml(dense(4, 1), jmeta.squared_error, SGD, num_steps=2), regression, {}),
    "maml on padded tasks": (jmeta.maml(dense(4, 3), cross_entropy, SGD, num_steps=2), padded, {}),
    "maml of trees": (jmeta.maml(of_trees(), likelihood, SGD), trees, {}),
    "maml with dropout": (jmeta.maml(dense(4, 1, dropout=0.5), jmeta.squared_error, SGD), regression, {"draws": "training"}),
    "maml of one layer": (jmeta.maml(dense(4, 3), cross_entropy, SGD, adapts=LAST), classification, {}),
    "pretraining": (jmeta.maml(dense(4, 1), jmeta.squared_error, SGD, num_steps=0), regression, {}),
    "fomaml": (
        jmeta.maml(dense(4, 1), jmeta.squared_error, optax.adam(0.05), num_steps=2, adjoint=jmeta.first_order()),
        regression,
        {},
    ),
    "imaml": (jmeta.maml(dense(4, 3), cross_entropy, SGD, num_steps=3, adjoint=IMPLICIT), classification, {}),
    "reptile": (jmeta.reptile(dense(4, 1), jmeta.squared_error, SGD), regression, {"own_objective": True}),
    "reptile in mini-batches": (
        jmeta.reptile(dense(4, 1), jmeta.squared_error, SGD, batch_size=2),
        regression,
        {"own_objective": True, "draws": "always"},
    ),
    "anil": (jmeta.anil(HEADS, cross_entropy, SGD, num_steps=2), classification, {}),
    "boil": (jmeta.boil(HEADS, cross_entropy, SGD, num_steps=2), classification, {}),
    "meta_sgd": (jmeta.meta_sgd(dense(4, 1), jmeta.squared_error), regression, {}),
    "cavia": (jmeta.cavia(dense(4, 1), jmeta.squared_error, SGD, context=2, num_steps=2), regression, {}),
    "cavia on padded tasks": (jmeta.cavia(dense(4, 3), cross_entropy, SGD, context=2), padded, {}),
    "proto_maml": (jmeta.proto_maml(dense(4, 3), cross_entropy, SGD, num_steps=2), classification, {}),
    "proto_maml on padded tasks": (jmeta.proto_maml(dense(4, 3), cross_entropy, SGD), padded, {}),
    "learned_objective": (
        jmeta.learned_objective(dense(4, 1), jmeta.squared_error, dense(3, 1), SGD, num_steps=2),
        regression,
        {},
    ),
    "learned_objective on padded tasks": (jmeta.learned_objective(dense(4, 3), cross_entropy, dense(3, 1), SGD), padded, {}),
    "learned_update_rule": (
        jmeta.learned_update_rule(dense(4, 1), jmeta.squared_error, dense(3, 2), num_steps=2),
        regression,
        {},
    ),
    "unified_learner": (unified(dense(4, 1), jmeta.squared_error), regression, {"own_objective": True}),
    "unified_learner on padded tasks": (unified(dense(4, 3), cross_entropy), padded, {"own_objective": True}),
    "unified_learner of trees": (unified(of_trees(), likelihood, reconstruction=0), trees, {}),
    "memory_augmented_networks": (
        jmeta.memory_augmented_networks(HEADS, cross_entropy, cell=CELL),
        classification,
        {"own_objective": True, **DRAWN_ORDER},
    ),
    "memory_augmented_networks of a given order": (
        jmeta.memory_augmented_networks(HEADS, cross_entropy, cell=CELL, shuffles=False),
        padded,
        {"own_objective": True, **IN_ORDER},
    ),
    "snail": (jmeta.snail(HEADS, cross_entropy, **SNAIL), classification, DRAWN_ORDER),
    "snail of a given order": (jmeta.snail(HEADS, cross_entropy, **SNAIL, shuffles=False), classification, IN_ORDER),
    "in_context_learner": (jmeta.in_context_learner(HEADS, cross_entropy, width=4, heads=2), classification, {}),
    "in_context_learner on padded tasks": (jmeta.in_context_learner(HEADS, cross_entropy, width=4, heads=2), padded, {}),
    "in_context_learner of numbers": (
        jmeta.in_context_learner(jmeta.EncoderHead(dense(4), dense(1)), jmeta.squared_error, width=4, heads=2),
        regression,
        {},
    ),
    "conditional_neural_processes": (jmeta.conditional_neural_processes(dense(4), dense(4, 2)), numbers, {}),
    "neural_processes": (jmeta.neural_processes(LATENT, dense(4, 2)), numbers, BOUND),
    "attentive_neural_processes": (
        jmeta.attentive_neural_processes(dense(4), dense(4, 2), latent=LATENT, **ATTENTION),
        numbers,
        BOUND,
    ),
    "siamese_networks": (jmeta.siamese_networks(dense(4, 3)), classification, PAIRS),
    "siamese_networks, contrastive": (jmeta.siamese_networks(dense(4, 3), margin=1.0), padded, PAIRS),
    "matching_networks": (jmeta.matching_networks(dense(4, 3)), classification, {}),
    "matching_networks on padded tasks": (jmeta.matching_networks(dense(4, 3)), padded, {}),
    "relation_networks": (jmeta.relation_networks(RELATION), relations, {}),
    "relation_networks on padded tasks": (jmeta.relation_networks(RELATION, loss_fn=cross_entropy), padded, {}),
    "ridge_regression": (jmeta.ridge_regression(dense(4, 3), regularization=1.0), classification, {}),
    "ridge_regression on padded tasks": (jmeta.ridge_regression(dense(4, 9), regularization=1.0), padded, {}),
    "logistic_regression": (jmeta.logistic_regression(dense(4, 2), regularization=1.0, num_steps=2), classification, {}),
    "logistic_regression on padded tasks": (jmeta.logistic_regression(dense(4, 9), regularization=1.0), padded, {}),
    "mahalanobis_classifier": (jmeta.mahalanobis_classifier(dense(4, 3)), classification, {}),
    "mahalanobis_classifier on padded tasks": (jmeta.mahalanobis_classifier(dense(4, 3)), padded, {}),
    "prototypical_networks": (jmeta.prototypical_networks(dense(4, 3)), classification, {}),
    "prototypical_networks on padded tasks": (jmeta.prototypical_networks(dense(4, 3)), padded, {}),
    "prototypical_networks with dropout": (
        jmeta.prototypical_networks(dense(4, 3, dropout=0.5)),
        classification,
        {"draws": "training"},
    ),
}


def loss_of(sampler):
    losses = {regression: jmeta.squared_error, trees: likelihood, numbers: jmeta.gaussian_negative_log_likelihood}
    return (losses | {relations: jmeta.relation_loss}).get(sampler, cross_entropy)


@pytest.mark.parametrize("name", LEARNERS)
def test_learner_keeps_the_protocol(name):
    learner, sampler, options = LEARNERS[name]
    testing.check_learner(learner, sampler(), loss_of(sampler), **options)


@pytest.mark.parametrize("name", ["maml", "prototypical_networks"])
def test_learner_keeps_the_protocol_up_to_rounding_in_float64(x64, name):
    learner, sampler, options = LEARNERS[name]
    testing.check_learner(learner, sampler.__wrapped__(), loss_of(sampler), **options, tolerance=1e-12)


# Three sound learners, each with places where it can be broken.


def counts(batch):
    """What each row counts, [n]."""
    return batch.real if batch.weights is None else jnp.where(batch.real, batch.weights, 0)


def checked(init):
    def checked_init(key, episode):
        jmeta.check_episode(episode)
        return init(key, episode)

    return checked_init


def mean_target(support):
    count = counts(support)
    return jnp.where(count > 0, count * support.y[:, 0], 0).sum() / count.sum()


def shift(statistic=mean_target, predict=None, loss=None, **changes):
    """A line, shifted by a statistic of the support's targets."""

    def adapt(params, key, support, *, classes=None, training=False):
        del key, classes, training
        return params * statistic(support)

    def line(params, adapted, x, *, key=None, mask=None):
        del key
        return params * (x if mask is None else jnp.where(mask[:, None], x, 0)) + adapted

    predict = predict or line
    sound = jmeta.query_loss(adapt, predict, jmeta.squared_error)
    learner = jmeta.Learner(checked(lambda key, episode: jnp.ones(())), adapt, predict, sound)
    return learner._replace(loss=sound if loss is None else loss(learner), **changes)


def class_means(members, x):
    total = members.sum(axis=0)
    return members.T @ x / jnp.where(total > 0, total, 1)[:, None]


def members(support, classes):
    return ((support.y[:, None] == jnp.arange(3)[None]) & classes[None]) * counts(support)[:, None]


def scaled(x, real, params):
    return jnp.where(real[:, None], x, 0) * params[None]


def prototypes(members=members, features=scaled, loss=None):
    """The nearest class mean of scaled inputs."""

    def adapt(params, key, support, *, classes=None, training=False):
        del key, training
        return class_means(members(support, classes), features(support.x, support.real, params))

    def predict(params, adapted, x, *, key=None, mask=None):
        del key
        x = x if mask is None else jnp.where(mask[:, None], x, 0)
        return -jnp.square((x * params[None])[:, None] - adapted[None]).sum(axis=-1)

    sound = jmeta.query_loss(adapt, predict, cross_entropy)
    learner = jmeta.Learner(checked(lambda key, episode: jnp.ones(4)), adapt, predict, sound)
    return learner if loss is None else learner._replace(loss=loss(learner))


def descent(key_of=jax.random.fold_in, drops=lambda training: training, judge=jmeta.score, **changes):
    """Two gradient steps on a linear map, whose inputs are dropped at random in training."""

    def logits(weights, x, key):
        return (x if key is None else jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)) @ weights

    def path(params, key, support, num_steps, *, classes=None, training=False):
        x = jnp.where(support.real[:, None], support.x, 0)

        def step(weights, index):
            drop_key = key_of(key, index) if drops(training) else None
            gradient = jax.grad(lambda weights: judge(cross_entropy, logits(weights, x, drop_key), support, classes))(weights)
            return weights - 0.5 * gradient, weights - 0.5 * gradient

        kept = jax.lax.scan(step, params, jnp.arange(num_steps))[1]
        return jnp.concatenate([params[None], kept])

    def adapt(params, key, support, *, classes=None, training=False):
        return path(params, key, support, 2, classes=classes, training=training)[2]

    def predict(params, adapted, x, *, key=None, mask=None):
        del params
        return logits(adapted, x if mask is None else jnp.where(mask[:, None], x, 0), key)

    loss = jmeta.query_loss(adapt, predict, cross_entropy)
    init = checked(lambda key, episode: jnp.sin(jnp.arange(12.0)).reshape(4, 3))
    return jmeta.Learner(init, adapt, predict, loss, path, num_steps=2)._replace(**changes)


def without_masks(support):
    return mean_target(support._replace(mask=None))


def first_target(support):
    """The support as a sequence: its first target that is there."""
    return support.y[(counts(support) > 0).argmax(), 0]


def by_key(learner):
    """Draws whether it is in training or not."""

    def loss(params, key, episode, *, step=0, training=True):
        value, metrics = learner.loss(params, key, episode, step=step, training=training)
        return value * (1 + jax.random.uniform(key)), metrics

    return loss


def test_the_learners_that_are_broken_below_keep_the_protocol():
    testing.check_learner(shift(), regression(), jmeta.squared_error)
    testing.check_learner(shift(without_masks), regression(), jmeta.squared_error, takes_masks=False)
    testing.check_learner(shift(first_target), regression(), jmeta.squared_error, uses_support_order=True)
    testing.check_learner(shift(loss=by_key), regression(), jmeta.squared_error, draws="always", own_objective=True)
    testing.check_learner(prototypes(), classification(), cross_entropy)
    testing.check_learner(descent(), classification(), cross_entropy, draws="training")


# Losses made of a sound one: (sound, params, key, episode, training) -> (value, metrics).


def altered(change):
    def build(learner):
        def loss(params, key, episode, *, step=0, training=True):
            def sound(params, key, episode, training=training):
                return learner.loss(params, key, episode, step=step, training=training)

            return change(sound, params, key, episode, training)

        return loss

    return build


@jax.custom_batching.custom_vmap
def number_of_tasks(x):
    return jnp.ones(())


@number_of_tasks.def_vmap
def _(axis_size, in_batched, x):
    return jnp.full(axis_size, float(axis_size)), True


def summed(sound, params, key, episode, training):
    """Divides by the number of tasks too seldom."""
    value, metrics = sound(params, key, episode)
    return value * number_of_tasks(jax.lax.stop_gradient(episode.query.x)), metrics


def of_parameter(value):
    return altered(lambda sound, params, key, episode, training: (value(params), sound(params, key, episode)[1]))


def twice(sound, params, key, episode, training):
    value, metrics = sound(params, key, episode)
    return 2 * value, metrics


def peeking(sound, params, key, episode, training):
    """Adapts on support and query."""
    jmeta.check_episode(episode)
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), episode.support, episode.query)
    return sound(params, key, episode._replace(support=both))


def peeking_in_training(sound, params, key, episode, training):
    return peeking(sound, params, key, episode, training) if training else sound(params, key, episode)


def on_the_support(sound, params, key, episode, training):
    return sound(params, key, episode._replace(query=episode.support))


def without_weights(sound, params, key, episode, training):
    return sound(params, key, episode._replace(query=episode.query._replace(weights=None)))


def yes_or_no_in_query(sound, params, key, episode, training):
    query = episode.query
    return sound(params, key, episode._replace(query=query._replace(weights=None, mask=counts(query) > 0)))


def unnumbered(sound, params, key, episode, training):
    return sound(params, key, episode._replace(task=None))


def scored(score):
    """A loss that scores outputs in a way of its own."""

    def build(learner):
        def loss(params, key, episode, *, step=0, training=True):
            jmeta.check_episode(episode)
            adapted = learner.adapt(params, key, episode.support, classes=episode.classes)
            value = score(learner.predict(params, adapted, episode.query.x, mask=episode.query.mask), episode)
            return value, {"loss": value}

        return loss

    return build


def with_labels(outputs, episode):
    outputs = outputs + 0.1 * jax.nn.one_hot(episode.query.y, 3)
    return jmeta.score(cross_entropy, outputs, episode.query, episode.classes)


def without_classes(outputs, episode):
    return jmeta.score(cross_entropy, outputs, episode.query)


def without_absent_rows(outputs, episode):
    return in_all_logits(cross_entropy, outputs, episode.query, episode.classes)


# Other places to be broken in.


def row_by_mask(x, mask):
    return x if mask is None else jnp.where(mask[:, None], x, 0)


def beside_the_first(params, adapted, x, *, key=None, mask=None):
    return params * (x - x[:1]) + adapted


def centred(params, adapted, x, *, key=None, mask=None):
    x = row_by_mask(x, mask)
    return params * (x - x.mean(axis=0, keepdims=True)) + adapted


def times_mask(support):
    return (counts(support) * support.y[:, 0]).sum() / counts(support).sum()


def yes_or_no(support):
    return mean_target(support._replace(weights=None, mask=counts(support) > 0))


def not_relative(support):
    count = counts(support)
    return jnp.where(count > 0, count * support.y[:, 0], 0).sum() / support.real.sum()


def members_behind_filling(support, classes):
    """Class members in which masked rows are copies of the first real one, as the library fills them, and count."""
    labels = jnp.where(support.real, support.y, support.y[support.real.argmax()])
    return members(support._replace(y=labels, mask=None), classes)


def where_behind(x, real, params):
    """The value is right, and the gradient 0 * NaN."""
    return jnp.where(real[:, None], x * params[None], 0)


def in_all_logits(loss_fn, outputs, batch, classes):
    """Leaves rows of absent classes out, but not their logits."""
    return jmeta.score(loss_fn, outputs, batch if classes is None else batch._replace(mask=batch.real & classes[batch.y]))


SHIFTS = {
    "a loss that is no scalar": (
        shift(loss=altered(lambda sound, params, key, episode, training: (params * episode.query.x, {}))),
        r"loss must give a floating-point scalar; got float32\[5, 1\]",
    ),
    "metrics that are no scalars": (
        shift(loss=altered(lambda sound, params, key, episode, training: (params, {"rows": episode.query.x}))),
        r"loss must give scalar metrics; got shapes \{'rows': \(5, 1\)\}",
    ),
    "no metric that says the loss": (
        shift(loss=altered(lambda sound, params, key, episode, training: (params, {"value": params}))),
        r"loss must give a metric named loss, that of the query; got \['value'\]",
    ),
    "a loss that is not finite": (
        shift(loss=of_parameter(lambda params: jnp.log(0 * params))),
        "loss must be finite and have a finite gradient; got a loss of -inf",
    ),
    "a loss without gradient": (
        shift(loss=of_parameter(lambda params: 0 * params)),
        "loss must depend on the parameters; got a gradient of zeros",
    ),
    "tasks that are not averaged": (
        shift(loss=altered(summed)),
        "loss and gradient in training must be the same for mapped tasks and for a loop over them",
        {"own_objective": True},
    ),
    "a loss that is not its metric": (shift(loss=altered(twice)), "loss in training must be its metric loss, unless own_objective"),
    "a batch of tasks that is taken for one": (
        LEARNERS["maml"][0]._replace(loss=altered(unnumbered)(LEARNERS["maml"][0])),
        "loss must refuse a batch of tasks in a sentence, as check_episode does; got a result",
    ),
    "a batch of tasks that is initialised on": (
        shift(init=lambda key, episode: jnp.ones(())),
        "init must refuse a batch of tasks in a sentence, as check_episode does; got a result",
    ),
    "one output for all rows": (
        shift(predict=lambda params, adapted, x, *, key=None, mask=None: adapted[None])._replace(loss=shift().loss),
        r"predict must give one row per example, \[5, ...\]; got \[1\]",
    ),
    "predictions that are not finite": (
        shift(predict=lambda params, adapted, x, *, key=None, mask=None: x / 0)._replace(loss=shift().loss),
        "adapt and predict must give finite values; got NaN or infinity",
    ),
    "an ignored support": (shift(lambda support: jnp.ones(())), "adapt must depend on the support; got the same for 3 tasks"),
    "an ignored adapted": (
        shift(predict=lambda params, adapted, x, *, key=None, mask=None: params * row_by_mask(x, mask)),
        "predict must depend on adapted; got the same outputs for 3 tasks",
    ),
    "queries that see the first query": (
        shift(predict=beside_the_first),
        "loss in training must not depend on the order of the query",
        {"takes_masks": False},
    ),
    "queries that see padded queries": (shift(predict=centred), "loss must not depend on masked rows"),
    "a support whose first row counts": (
        shift(first_target),
        "loss in training must not depend on the order of the support, unless uses_support_order",
    ),
    "a mask that is ignored": (shift(without_masks), "loss must not depend on masked rows"),
    "0 * NaN in a mask": (shift(times_mask), "adapt and predict must not depend on what masked rows hold, such as nan"),
    "weights of the support that are ignored": (
        shift(lambda support: mean_target(support._replace(weights=None))),
        "loss in training must not depend on a target of weight 0, such as nan",
    ),
    "weights of the query that are ignored": (
        shift(loss=altered(without_weights)),
        "loss in training must not depend on a target of weight 0, such as nan",
    ),
    "weights of the query that only say yes or no": (
        shift(loss=altered(yes_or_no_in_query)),
        r"must be loss_fn of what predict says of the query after adapt on the support \(with weights\)",
    ),
    "weights that only say yes or no": (shift(yes_or_no), "adapt must count each target of the support by its weight"),
    "weights that are not relative": (shift(not_relative), "loss in training must be the same where all weights are doubled"),
    "labels of the query in adapting": (
        shift(loss=altered(peeking)),
        r"the metric loss outside training must be loss_fn of what predict says of the query after adapt on the support",
    ),
    "labels of the query in adapting, in training": (
        shift(loss=altered(peeking_in_training)),
        r"the metric loss in training must be loss_fn of what predict says of the query after adapt on the support",
    ),
    "a loss on the support": (shift(loss=altered(on_the_support)), "must be loss_fn of what predict says of the query"),
    "a key that is not used": (shift(), "got draws='training' and a loss that ignores it", {"draws": "training"}),
    "a length without its path": (
        shift(num_steps=1),
        "path and num_steps must be given together; got no path and num_steps=1",
    ),
    "draws that are unknown": (
        shift(),
        "draws must be one of nothing, training, always; got 'sometimes'",
        {"draws": "sometimes"},
    ),
}
PROTOTYPES = {
    "a mask that is ignored behind its filling, one shot": (
        prototypes(members_behind_filling),
        "loss must not depend on masked rows",
    ),
    "a where behind what is not a number": (
        prototypes(features=where_behind),
        "adapt and predict must not depend on what masked rows hold, such as nan",
    ),
    "a label added to the logits": (prototypes(loss=scored(with_labels)), "must be loss_fn of what predict says of the query"),
    "classes that are ignored in logits": (
        prototypes(loss=scored(without_absent_rows)),
        r"must be loss_fn of what predict says of the query after adapt on the support \(with a class that is not real\)",
    ),
    "classes that are ignored": (
        prototypes(loss=scored(without_classes)),
        "loss in training must not count rows of classes that are not real",
    ),
}
SOUND = descent()
DESCENTS = {
    "a loss that is not its metric, with dropout": (
        SOUND._replace(loss=altered(twice)(SOUND)),
        "loss in training must be its metric loss, unless own_objective",
    ),
    "classes that are ignored in adapting": (
        descent(judge=lambda loss_fn, outputs, batch, classes: jmeta.score(loss_fn, outputs, batch)),
        "loss in training must not count rows of classes that are not real",
    ),
    "classes that are ignored in logits of adapting": (
        descent(judge=in_all_logits),
        "adapt must leave out the logits of classes that are not real; got the same with and without them",
    ),
    "a key that is used": (SOUND, "got draws='nothing' and a loss that changes with it", {"draws": "nothing"}),
    "dropout that is never on": (
        SOUND._replace(loss=altered(lambda sound, *task: sound(*task[:3], False))(SOUND)),
        "got draws='training' and a loss that ignores it",
    ),
    "dropout outside training": (
        SOUND._replace(loss=altered(lambda sound, *task: sound(*task[:3], True))(SOUND)),
        "loss must be deterministic outside training",
    ),
    "dropout in adapting outside training": (
        descent(drops=lambda training: True)._replace(loss=SOUND.loss),
        "adapt must be deterministic outside training",
    ),
    "one key for all steps": (
        descent(key_of=lambda key, step: key),
        "path must draw anew in every step; got [0-9]+ outcomes of one step and [0-9]+ of two from 256 keys",
    ),
    "a path without its length": (
        SOUND._replace(num_steps=None),
        "path and num_steps must be given together; got a path and num_steps=None",
    ),
    "a path that is too short": (
        SOUND._replace(path=lambda *task, **options: SOUND.path(*task, **options)[1:]),
        r"path must have a leading axis of num_steps \+ 1 = 4; got shapes \[\(3, 4, 3\)\]",
    ),
    "a path that goes elsewhere": (
        SOUND._replace(path=lambda *task, **options: 2 * SOUND.path(*task, **options)),
        "path must pass through adapt after num_steps=2 steps",
    ),
}
MUTANTS = {
    **{name: (regression, {}, *row) for name, row in SHIFTS.items()},
    **{name: (classification, {}, *row) for name, row in PROTOTYPES.items()},
    **{name: (classification, {"draws": "training"}, *row) for name, row in DESCENTS.items()},
}


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_promises_are_found(name):
    sampler, usual, learner, sentence, *options = MUTANTS[name]
    with pytest.raises(ValueError, match=sentence):
        testing.check_learner(learner, sampler(), loss_of(sampler), **usual | dict(*options))


def half_gradient(params, key, data, *, step=0):
    """A gradient that is blocked through one of two terms."""
    return jnp.sin(params).sum() + jnp.cos(jax.lax.stop_gradient(params)).sum(), {}


def test_wrong_gradients_and_float32_are_found(x64):
    testing.check_gradient(lambda params, key, data, *, step=0: (jnp.sin(params).sum(), {}), jnp.ones(3), None, None)
    with pytest.raises(ValueError, match="objective must have the gradient of its differences along a direction"):
        testing.check_gradient(half_gradient, jnp.ones(3), None, None)
    with pytest.raises(ValueError, match="params must be float64 to be compared with differences; got float32"):
        testing.check_gradient(half_gradient, jnp.ones(3, jnp.float32), None, None)
