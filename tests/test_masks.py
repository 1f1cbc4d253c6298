"""What is masked or has weight 0 never matters, whatever it holds: against the same task without it, whose shapes are others."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jmeta
from jmeta import Batch, Episode, aggregation
from jmeta.nn import BatchStatistics, ConvolutionalEncoder, MemoryCell

KEY, SGD = jax.random.key(0), optax.sgd(0.1)
# Sums of a few dozen terms in another order.
TOLERANCES = {"float64": 1e-12, "float32": 1e-5}
# What masked rows hold: where there are numbers, and where there are labels.
FILLERS = {"0": (0.0, 0), "1e6": (1e6, 1_000_000), "NaN": (np.nan, -1), "infinity": (np.inf, 2**31 - 1)}
# Scattered, so that the first row is not a real one.
SUPPORT = np.array([0, 1, 1, 0, 1, 1, 1, 1, 0], bool)
QUERY = np.array([0, 1, 1, 1, 0, 1], bool)
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


@pytest.fixture(params=TOLERANCES)
def dtype(request):
    """The precision of a test, as in a program of that precision alone."""
    if request.param == "float64":
        request.getfixturevalue("x64")
    return request.param


def centred(outputs, width=4):
    """Two layers; the units between them are centred over the real rows, so that rows mix and the mask is needed."""

    def init(key, x):
        one, other = jax.random.split(key)
        return {"body": jax.random.normal(one, (x.shape[-1], width)), "head": jax.random.normal(other, (width, outputs)) / 2}

    def apply(params, x, *, key=None, mask=None):
        units = x @ params["body"]
        mean = units.mean(axis=0, keepdims=True, where=None if mask is None else (mask | ~mask.any())[:, None])
        return jnp.tanh(units - mean) @ params["head"]

    return jmeta.Model(init, apply)


def linear(outputs):
    def init(key, x):
        return jax.random.normal(key, (x.shape[-1], outputs))

    return jmeta.from_functions(init, lambda params, x: x @ params)


class Normed(nn.Module):
    """Two dense layers with a norm between them."""

    norm: str

    @nn.compact
    def __call__(self, x, mask=None):
        x = nn.Dense(4)(x)
        if self.norm == "batch":
            x = BatchStatistics()(x, mask)
        elif self.norm != "none":
            x = (nn.GroupNorm(num_groups=2) if self.norm == "group" else nn.LayerNorm())(x)
        return nn.Dense(2)(jnp.tanh(x))


def normed(norm):
    return jmeta.maml(jmeta.from_linen(Normed(norm)), jmeta.squared_error, SGD)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)


def as_type(tree, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def regression(shape=(2,)):
    return Episode(*(Batch(draw(seed, rows, *shape), draw(seed + 9, rows, 2)) for seed, rows in ((1, 6), (2, 4))))


def classification(shape=(2,)):
    parts = (Batch(draw(seed, rows, *shape), jnp.arange(rows) % 3) for seed, rows in ((1, 6), (2, 4)))
    return Episode(*parts, jnp.ones(3, bool))


def spread(batch, mask, real, filler):
    """Puts the rows of a batch where the mask is true, and the filler everywhere that is not ``real``."""

    def rows(leaf):
        held = filler[0] if jnp.issubdtype(leaf.dtype, jnp.floating) else filler[1]
        held = jnp.asarray(held, leaf.dtype)
        spread = jnp.full((len(mask), *leaf.shape[1:]), 0, leaf.dtype).at[np.flatnonzero(mask)].set(leaf)
        return jnp.where(real.reshape(-1, *[1] * (leaf.ndim - 1)), spread, held)

    return jax.tree.map(rows, batch)._replace(mask=real)


def spread_episode(episode, filler, support=SUPPORT, query=QUERY):
    parts = (spread(part, mask, real, filler) for part, mask, real in ((episode[0], SUPPORT, support), (episode[1], QUERY, query)))
    return Episode(*parts, episode.classes)


def masked_and_plain(loss, episode):
    """Programs ``(params, filler, support, query)`` and ``(params)`` to values and gradients, with and without masked rows."""
    differentiate = jax.value_and_grad(loss, has_aux=True)
    masked = jax.jit(lambda params, *given: differentiate(params, KEY, spread_episode(episode, *given)))
    return masked, jax.jit(lambda params: differentiate(params, KEY, episode))


def numbers(filler):
    """A filler as arrays, so that one program serves all."""
    return jnp.asarray(FILLERS[filler][0], float), jnp.int32(FILLERS[filler][1])


HEADS = jmeta.EncoderHead(centred(4), linear(2))
OF_CLASSES = jmeta.EncoderHead(centred(4), linear(3))
LATENT = jmeta.EncoderHead(centred(4), linear(4))
PROTOTYPES = jmeta.prototypical_networks(centred(5))
LEARNERS = {
    "maml": (jmeta.maml(centred(2), jmeta.squared_error, SGD, num_steps=2), regression),
    "maml, classes": (jmeta.maml(centred(3), cross_entropy, SGD), classification),
    "maml, no norm": (normed("none"), regression),
    "maml, group norm": (normed("group"), regression),
    "maml, layer norm": (normed("layer"), regression),
    "maml, batch statistics": (normed("batch"), regression),
    "fomaml": (
        jmeta.maml(centred(2), jmeta.squared_error, SGD, num_steps=2, adjoint=jmeta.first_order()),
        regression,
    ),
    "imaml": (
        jmeta.maml(centred(2), jmeta.squared_error, SGD, num_steps=2, adjoint=jmeta.implicit(proximal_strength=2.0)),
        regression,
    ),
    "reptile": (jmeta.reptile(centred(2), jmeta.squared_error, SGD, num_steps=2), regression),
    "anil": (jmeta.anil(HEADS, jmeta.squared_error, SGD), regression),
    "boil": (jmeta.boil(HEADS, jmeta.squared_error, SGD), regression),
    "meta_sgd": (jmeta.meta_sgd(centred(2), jmeta.squared_error), regression),
    "cavia": (jmeta.cavia(centred(2), jmeta.squared_error, SGD, context=2), regression),
    "proto_maml": (jmeta.proto_maml(centred(4), cross_entropy, SGD), classification),
    "learned_objective": (jmeta.learned_objective(centred(3), cross_entropy, linear(1), SGD), classification),
    "learned_update_rule": (jmeta.learned_update_rule(centred(2), jmeta.squared_error, linear(2)), regression),
    "memory_augmented_networks": (
        jmeta.memory_augmented_networks(OF_CLASSES, cross_entropy, cell=MemoryCell(4, 5, 3, 2), shuffles=False),
        classification,
    ),
    "snail": (
        jmeta.snail(OF_CLASSES, cross_entropy, length=9, attentions=((3, 2), (3, 2)), filters=2, shuffles=False),
        classification,
    ),
    "in_context_learner": (jmeta.in_context_learner(OF_CLASSES, cross_entropy, width=4, heads=2), classification),
    "conditional_neural_processes": (jmeta.conditional_neural_processes(centred(4), centred(4)), regression),
    "neural_processes": (jmeta.neural_processes(LATENT, linear(4)), regression),
    "attentive_neural_processes": (
        jmeta.attentive_neural_processes(centred(4), linear(4), query=centred(3), latent=LATENT, width=4, heads=2),
        regression,
    ),
    "siamese_networks": (jmeta.siamese_networks(centred(5)), classification),
    "siamese_networks, contrastive": (jmeta.siamese_networks(centred(5), margin=30.0), classification),
    "matching_networks": (jmeta.matching_networks(centred(5)), classification),
    "relation_networks": (
        jmeta.relation_networks(jmeta.EncoderHead(centred(4), linear(1)), loss_fn=cross_entropy),
        classification,
    ),
    "ridge_regression": (jmeta.ridge_regression(centred(5), regularization=1.0), classification),
    "logistic_regression": (jmeta.logistic_regression(centred(5), num_steps=2), classification),
    "mahalanobis_classifier": (jmeta.mahalanobis_classifier(centred(5)), classification),
    "prototypical_networks": (PROTOTYPES, classification),
    "prototypical_networks, convolutions": (
        jmeta.prototypical_networks(jmeta.from_linen(ConvolutionalEncoder((4, 4), normalization="batch"))),
        lambda: classification((4, 4, 1)),
    ),
}


def params_of(init, *example):
    """Parameters of the shapes that ``init`` gives, drawn without compiling it."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(init, KEY, *example)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape) / 2 + 0.1, leaf.dtype), shapes)


@pytest.mark.parametrize("name", LEARNERS)
def test_masked_rows_never_matter_to_a_learner(name, dtype):
    learner, task = LEARNERS[name]
    episode = as_type(task(), dtype)
    params = as_type(params_of(learner.init, episode), dtype)
    masked, plain = masked_and_plain(learner.loss, episode)
    (loss, metrics), gradient = plain(params)
    assert optax.tree.norm(gradient) > 1e-3
    for filler in FILLERS:
        (got, found), slope = masked(params, numbers(filler), SUPPORT, QUERY)
        assert found.pop("present")
        chex.assert_trees_all_equal_dtypes((got, slope), (loss, gradient))
        chex.assert_trees_all_close((got, found, slope), (loss, metrics, gradient), rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])
    # Without a real row, in the query or anywhere: nothing at all.
    rows = np.zeros_like(SUPPORT) if name == "reptile" else SUPPORT
    for support in (rows, np.zeros_like(SUPPORT)):
        for filler in FILLERS:
            (got, found), slope = masked(params, numbers(filler), support, np.zeros_like(QUERY))
            assert not found["present"]
            chex.assert_trees_all_equal((got, slope), optax.tree.zeros_like((loss, gradient)))


@pytest.mark.parametrize("name", ["maml", "anil", "prototypical_networks"])
def test_masked_rows_never_matter_to_the_parts_of_a_learner(x64, name):
    """Adapting and predicting, called as they are, and differentiated; the whole path where there is one."""
    learner, task = LEARNERS[name]
    plain, padded = task(), spread_episode(task(), FILLERS["NaN"])
    params = as_type(params_of(learner.init, plain), float)

    def of_real_rows(params, episode, real):
        given = {"classes": episode.classes}
        adapted = learner.adapt(params, KEY, episode.support, **given)
        outputs = learner.predict(params, adapted, episode.query.x, mask=episode.query.mask)[real]
        path = () if learner.path is None else learner.path(params, KEY, episode.support, 1, **given)
        return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves((adapted, outputs, path)))

    one, other = (
        jax.jit(jax.value_and_grad(lambda params, episode=episode, real=real: of_real_rows(params, episode, real)))(params)
        for episode, real in ((plain, np.arange(4)), (padded, np.flatnonzero(QUERY)))
    )
    chex.assert_trees_all_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_missing_label_leaves_the_gradient_of_the_others():
    """The slope of a line through (1, 2) and (2, 3) at 1: the mean of 2 x (x - y)."""
    batch = Batch(jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[2.0], [3.0], [jnp.nan]]), jnp.array([True, True, False]))
    model = jmeta.from_linen(nn.Dense(1, use_bias=False))
    one = jmeta.hard_parameter_sharing(
        model, {"y": jmeta.Task(jmeta.from_functions(lambda k, x: (), lambda p, x: x), jmeta.squared_error)}
    )
    params = jmeta.EncoderHead({"kernel": jnp.ones((1, 1))}, {"y": jmeta.EncoderHead((), ())})
    (value, _), gradient = jax.value_and_grad(one.objectives["y"], has_aux=True)(params, KEY, batch)
    assert (value, gradient.encoder["kernel"]) == (1, -3)


# --- losses that are undefined at zero --------------------------------------------------------------------------------------------


def relative_error(outputs, targets):
    return jnp.abs(outputs - targets) / jnp.abs(targets)


def squared_logarithmic_error(outputs, targets):
    return jnp.square(jnp.log(jnp.abs(outputs)) - jnp.log(jnp.abs(targets)))


def distance(outputs, targets):
    return jnp.linalg.norm(outputs - targets, axis=-1)


UNDEFINED_AT_ZERO = {
    "cosine distance": optax.cosine_distance,
    "distance": distance,
    "relative error": relative_error,
    "squared logarithmic error": squared_logarithmic_error,
}


@pytest.mark.parametrize("loss_fn", UNDEFINED_AT_ZERO.values(), ids=UNDEFINED_AT_ZERO)
def test_a_loss_that_is_undefined_at_zero_has_the_gradient_of_the_real_rows(x64, loss_fn):
    # No bias, so that a row of zeros has an output of zeros.
    model = jmeta.from_linen(nn.Dense(2, use_bias=False))
    learner, episode = jmeta.maml(model, loss_fn, SGD), regression()
    params = as_type(params_of(learner.init, episode), float)
    masked, plain = masked_and_plain(learner.loss, episode)
    expected = plain(params)[1]
    for filler in FILLERS:
        chex.assert_trees_all_close(masked(params, numbers(filler), SUPPORT, QUERY)[1], expected, rtol=1e-12, atol=1e-12)
    padded = jmeta.pad_episode(episode, support=9, query=6)
    got = jax.jit(jax.grad(lambda params: learner.loss(params, KEY, padded)[0]))(params)
    chex.assert_trees_all_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("by", ["mask", "weights", "weights of entries"])
def test_no_derivative_comes_back_to_outputs_that_do_not_count(by):
    """Not even where the loss is undefined at what stands there: two equal numbers, whose distance has no slope; NaN; infinity."""
    targets = jnp.array([[1.0, 2.0], [3.0, 5.0], [7.0, 4.0]])
    there = np.array([True, False, True])
    counted = {
        "mask": {"mask": jnp.asarray(there)},
        "weights": {"weights": jnp.asarray(there, float)},
        "weights of entries": {"weights": jnp.asarray(np.repeat(there[:, None], 2, axis=1), float)},
    }[by]

    def root(outputs, targets):
        return jnp.sqrt(jnp.abs(outputs - targets))

    loss_fn = root if by == "weights of entries" else distance
    value, expected = jax.value_and_grad(lambda outputs: loss_fn(outputs, targets[there]).mean())(jnp.zeros((2, 2)))
    for held in (targets[0], targets[1], jnp.nan, jnp.inf, 1e30):
        outputs = jnp.zeros((3, 2)).at[1].set(held)

        def score(outputs):
            return jmeta.score(loss_fn, outputs, Batch(outputs, targets)._replace(**counted))

        got, slope = jax.value_and_grad(score)(outputs)
        np.testing.assert_allclose(got, value, rtol=1e-6)
        np.testing.assert_allclose(slope[there], expected, rtol=1e-6)
        assert (slope[1] == 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_rows_of_classes_that_are_not_there_do_not_count(masked):
    """Labels of absent classes and labels beyond them all, under jit, where nobody can say so."""
    logits, labels = draw(1, 5, 4), jnp.array([0, 2, 1, 3, 9], jnp.uint8)
    classes, real = jnp.array([True, False, True, True]), jnp.array([True, True, True, False, True])
    kept = np.array([0, 1]) if masked else np.array([0, 1, 3])
    batch = Batch(logits, labels, real if masked else None)
    got = jax.jit(jax.value_and_grad(lambda logits: jmeta.score(cross_entropy, logits, batch, classes)))(logits)

    def expected(logits):
        there = jax.nn.log_softmax(logits[kept][:, np.array([0, 2, 3])])
        return -there[np.arange(len(kept)), np.array([0, 1, 2])[: len(kept)]].mean()

    # float32
    chex.assert_trees_all_close(got, jax.value_and_grad(expected)(logits), rtol=1e-5, atol=1e-6)


def test_no_derivative_comes_back_to_single_entries_that_do_not_count():
    """The other entries of their rows have theirs."""
    targets = jnp.array([[1.0, 2.0], [3.0, 5.0], [7.0, 4.0]])
    there = np.array([[1, 1], [1, 0], [0, 1]], bool)
    batch = Batch((), targets, None, jnp.asarray(there, float))

    def root(outputs, targets):
        return jnp.sqrt(jnp.abs(outputs - targets))

    outputs = jnp.zeros((3, 2))
    value, expected = jax.value_and_grad(lambda outputs: root(outputs, targets)[there].mean())(outputs)
    # The first entry of its column, which stands in the place of the target, is equal to what is held: no slope.
    for held in (jnp.array([1.0, 2.0]), jnp.nan, jnp.inf):
        given = jnp.where(there, outputs, held)
        got, slope = jax.value_and_grad(lambda outputs: jmeta.score(root, outputs, batch))(given)
        np.testing.assert_allclose(got, value, rtol=1e-6)
        np.testing.assert_allclose(slope, expected, rtol=1e-6)


def beta_likelihood(precision):
    """Of targets between 0 and 1, where their logarithms are defined; the precision is learnt."""

    def loss_fn(outputs, targets):
        mean = jax.nn.sigmoid(outputs)
        one, other = precision * mean, precision * (1 - mean)
        return -(one - 1) * jnp.log(targets) - (other - 1) * jnp.log1p(-targets) + jax.scipy.special.betaln(one, other)

    return loss_fn


def test_a_learned_loss_gets_no_gradient_from_an_absent_target(x64):
    """Neither 0 nor 1 nor anything outside may stand in the place of what is absent."""
    outputs, targets = draw(1, 5, 2), jax.nn.sigmoid(draw(2, 5, 2))
    present = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 1]], bool)

    def loss(precision, held):
        batch = Batch(outputs, jnp.where(present, targets, held), None, jnp.asarray(present, float))
        return jmeta.score(beta_likelihood(precision), outputs, batch)

    def expected(precision):
        return beta_likelihood(precision)(outputs, targets)[present].mean()

    differentiate, wanted = jax.jit(jax.value_and_grad(loss)), jax.jit(jax.value_and_grad(expected))(jnp.array(3.0))
    for held in (0.0, 1.0, 1e6, np.nan, np.inf):
        chex.assert_trees_all_close(differentiate(jnp.array(3.0), held), wanted, rtol=1e-12)


# --- objectives of several tasks, weightings and aggregators ----------------------------------------------------------------------

MULTITASK = jmeta.hard_parameter_sharing(
    centred(4), {"age": jmeta.Task(linear(2), jmeta.squared_error), "species": jmeta.Task(linear(3), cross_entropy)}
)
RATE = 0.1


def meta_batch(filler=None):
    """Two tasks of one size; without a filler as they are."""
    episodes = [regression(), jax.tree.map(lambda leaf: 0.5 - leaf, regression())]
    episodes = episodes if filler is None else [spread_episode(episode, filler) for episode in episodes]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *episodes)


def two_kinds(filler=None):
    """One regression and one classification task, for one encoder and head each."""
    parts = {"age": regression().support, "species": classification().support}
    return parts if filler is None else {name: spread(part, SUPPORT, SUPPORT, filler) for name, part in parts.items()}


def joint(filler=None):
    """Two labels of one input, each with weights of its own, which masked rows have too."""
    parts = two_kinds(filler)
    weights = {"age": jnp.abs(draw(3, 6, 2)), "species": jnp.abs(draw(4, 6))}
    if filler is not None:
        weights = {name: spread(Batch(leaf, None), SUPPORT, SUPPORT, filler).x for name, leaf in weights.items()}
    return parts["age"]._replace(y={name: part.y for name, part in parts.items()}, weights=weights)


def of_kinds(filler=None):
    """One classification task to adapt to, and examples of one head."""
    task, heads = classification(), two_kinds(filler)
    task = task if filler is None else spread_episode(task, filler)
    return {"adapted": jax.tree.map(lambda leaf: leaf[None], task), "age": heads["age"]}


def learner_params():
    return params_of(FOMAML.init, regression())


def multitask_params():
    return params_of(MULTITASK.init, two_kinds())


def params_of_kinds():
    return {"adapted": params_of(PROTOTYPES.init, classification()), "age": multitask_params()}


def part(loss, name):
    return lambda params, *arguments, **options: loss(params[name], *arguments, **options)


FOMAML = jmeta.maml(centred(2), jmeta.squared_error, SGD, adjoint=jmeta.first_order())
OF_KINDS = {"adapted": jmeta.over_tasks(part(PROTOTYPES.loss, "adapted")), "age": part(MULTITASK.objectives["age"], "age")}
MIXTURE = jmeta.mixture(OF_KINDS, {"adapted": 0.3})
TASKS, HEADS_OF_TASKS = jmeta.task_losses(FOMAML.loss), jmeta.task_losses(MULTITASK.objectives)


def surgery(shared, **options):
    return {"optimizer": jmeta.aggregate(shared, optax.sgd(RATE), **options)}


def weighted(weighting):
    return {"optimizer": optax.sgd(RATE), "weighting": weighting}


UNCERTAINTY = jmeta.uncertainty_weighting(optax.sgd(RATE))
IN_ORDER = jmeta.pcgrad(shuffle=False)
GRADIENTS, JOINT = jmeta.task_gradients(FOMAML.loss), jmeta.joint_gradients(MULTITASK.joint_losses)
BY_FEATURES = jmeta.joint_gradients(MULTITASK.joint_losses, with_respect_to="features")
# Objective, parameters, data, options of the step.
STEPS = {
    "mean over tasks": (jmeta.over_tasks(FOMAML.loss), learner_params, meta_batch, {}),
    "mean over tasks, one by one": (jmeta.over_tasks(FOMAML.loss), learner_params, meta_batch, {"micro_batch": 1}),
    "mean over tasks, two by two": (jmeta.over_tasks(FOMAML.loss), learner_params, meta_batch, {"micro_batch": 2}),
    "mixture of learners": (MIXTURE, params_of_kinds, of_kinds, {}),
    "mixture of learners, one by one": (MIXTURE, params_of_kinds, of_kinds, {"micro_batch": 1}),
    "mixture of heads": (jmeta.mixture(MULTITASK.objectives), multitask_params, two_kinds, {}),
    "task losses, equal": (TASKS, learner_params, meta_batch, weighted(jmeta.equal_weighting())),
    "task losses, uncertainty": (TASKS, learner_params, meta_batch, weighted(UNCERTAINTY)),
    "losses of kinds, uncertainty": (jmeta.task_losses(OF_KINDS), params_of_kinds, of_kinds, weighted(UNCERTAINTY)),
    "losses of heads, uncertainty": (HEADS_OF_TASKS, multitask_params, two_kinds, weighted(UNCERTAINTY)),
    "joint losses, uncertainty": (MULTITASK.joint_losses, multitask_params, joint, weighted(UNCERTAINTY)),
    "task gradients, sum": (GRADIENTS, learner_params, meta_batch, surgery(aggregation.sum())),
    "task gradients, mean": (GRADIENTS, learner_params, meta_batch, surgery(aggregation.mean())),
    "task gradients, pcgrad": (GRADIENTS, learner_params, meta_batch, surgery(IN_ORDER)),
    "joint gradients, pcgrad": (JOINT, multitask_params, joint, surgery(IN_ORDER, own=aggregation.sum())),
    "joint gradients of features, pcgrad": (BY_FEATURES, multitask_params, joint, surgery(IN_ORDER, own=aggregation.mean())),
}


@pytest.mark.parametrize("name", STEPS)
def test_masked_rows_never_matter_to_a_step(name, dtype):
    """What a step of size ``RATE`` moves is the gradient; a weighting's state moves by its own."""
    objective, make_params, data, options = STEPS[name]
    optimizer, weighting = options.get("optimizer", optax.sgd(RATE)), options.get("weighting")
    step = jmeta.make_step(objective, **{"optimizer": optimizer} | options)
    params = as_type(make_params(), dtype)
    state = jmeta.init_state(params, optimizer, KEY, tasks=2, weighting=weighting)
    masked = jax.jit(lambda state, filler: step(state, as_type(data(filler), dtype)))
    expected, metrics = jax.jit(lambda state: step(state, as_type(data(), dtype)))(state)
    moved = jax.tree.map(jnp.subtract, params, expected.params)
    assert optax.tree.norm(moved) > 1e-3
    metrics.pop("present", None)  # There because of weights.
    for filler in FILLERS:
        got, found = masked(state, numbers(filler))
        found.pop("present")

        def comparable(state, metrics):
            return (state.params, state.memory, metrics)

        tolerance = TOLERANCES[dtype]
        chex.assert_trees_all_close(comparable(got, found), comparable(expected, metrics), rtol=tolerance, atol=tolerance)


# --- scores -----------------------------------------------------------------------------------------------------------------------


def test_masked_rows_never_matter_to_scores_and_predictions():
    """Of evaluation along the steps, of validation, and of what metrics of sets are computed from."""
    learner, params = FOMAML, learner_params()
    tasks = {filler: meta_batch(None if filler is None else FILLERS[filler]) for filler in (None, "NaN")}

    def of_list(data, index, key):
        return jax.tree.map(lambda leaf: leaf[index], data)

    samplers = {
        filler: jmeta.Sampler(data, lambda data, key: of_list(data, 0, key), size=2, at=of_list) for filler, data in tasks.items()
    }
    plain, masked = samplers[None], samplers["NaN"]
    scores = [jmeta.evaluate(learner, params, tasks, metric=jmeta.squared_error, num_steps=2).values for tasks in (plain, masked)]
    chex.assert_trees_all_close(*scores, rtol=1e-5, atol=1e-5)
    losses = [jmeta.validator(learner, tasks, metric=jmeta.squared_error)(params) for tasks in (plain, masked)]
    chex.assert_trees_all_close(*losses, rtol=1e-5, atol=1e-5)
    one, other = (jmeta.predict_episodes(learner, params, tasks) for tasks in (plain, masked))
    np.testing.assert_allclose(other.outputs[other.weights > 0], one.outputs, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(other.weights.reshape(2, -1), [QUERY, QUERY])
    errors = [jmeta.measure(found, {"error": jmeta.squared_error})["error"].mean for found in (one, other)]
    np.testing.assert_allclose(*errors, rtol=1e-5)


def test_masked_rows_never_matter_to_the_scores_of_several_tasks():
    params, metrics = multitask_params(), {"age": {"error": jmeta.squared_error}, "species": {"accuracy": jmeta.accuracy}}
    scores = [jmeta.evaluate_tasks(MULTITASK, params, joint(filler), metrics) for filler in (None, FILLERS["NaN"])]
    for name, metric in (("age", "error"), ("species", "accuracy")):
        np.testing.assert_allclose(*[found[name][metric].mean for found in scores], rtol=1e-5)


def test_an_episode_in_whose_query_nothing_counts_has_no_score():
    """It is neither a 0 in the mean nor a task of the interval, in evaluation and in validation."""
    params = learner_params()

    def at(data, index, key):
        episode = jax.tree.map(lambda leaf: leaf[0], meta_batch())
        weights = jnp.full(4, jnp.where(index == 1, 0.0, index + 1.0))
        return episode._replace(query=episode.query._replace(y=episode.query.y + index, weights=weights))

    tasks = jmeta.Sampler((), lambda data, key: at(data, 0, key), 4, at)
    options = {"metric": jmeta.squared_error, "seed": 0}
    found = jmeta.evaluate(FOMAML, params, tasks, **options)
    assert found.values.shape == (3, 1)
    assert (found.values > 0).all()
    validated = jmeta.validator(FOMAML, tasks, **options)(params)
    assert validated["squared_error"] == pytest.approx(found.after_steps[0].mean, rel=1e-5)
    assert validated["loss"] == pytest.approx(validated["squared_error"], rel=1e-5)


# --- weights ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (5, 2)], ids=["rows", "entries"])
def test_whole_weights_are_repeated_targets(x64, shape):
    outputs, targets = draw(1, 5, 2), draw(2, 5, 2)
    weights = np.random.default_rng(3).integers(0, 4, shape)
    targets = jnp.where(weights.reshape(*shape, *[1] * (2 - len(shape))) == 0, jnp.nan, targets)
    counts = np.broadcast_to(weights.reshape(*shape, *[1] * (2 - len(shape))), (5, 2)).ravel()

    def loss(outputs):
        return jmeta.score(jmeta.squared_error, outputs, Batch(outputs, targets, None, jnp.asarray(weights)))

    def repeated(outputs):
        return jnp.square(jnp.repeat(outputs.ravel(), counts) - np.repeat(np.asarray(targets).ravel(), counts)).mean()

    assert (weights == 0).any()
    chex.assert_trees_all_close(jax.value_and_grad(loss)(outputs), jax.value_and_grad(repeated)(outputs), rtol=1e-12, atol=1e-14)


def test_pixels_without_a_label_leave_the_mean_and_the_gradient_of_the_others(x64):
    """Logits [n, h, w, classes], weights [n, h, w]; what has no label says 255."""
    logits = draw(1, 2, 3, 4, 5)
    labels = np.random.default_rng(2).integers(0, 5, (2, 3, 4))
    known = np.random.default_rng(3).random((2, 3, 4)) < 0.6
    batch = Batch(logits, jnp.asarray(np.where(known, labels, 255), jnp.uint8), None, jnp.asarray(known, float))

    def score(logits):
        return jmeta.score(cross_entropy, logits, batch)

    def expected(logits):
        return -jax.nn.log_softmax(logits)[known][np.arange(known.sum()), labels[known]].mean()

    got, wanted = (jax.jit(jax.value_and_grad(loss))(logits) for loss in (score, expected))
    chex.assert_trees_all_close(got, wanted, rtol=1e-12, atol=1e-14)
    # A masked image besides: as without it.
    got = jmeta.score(cross_entropy, logits, batch._replace(mask=jnp.array([True, False])))
    np.testing.assert_allclose(got, jmeta.score(cross_entropy, logits[:1], jax.tree.map(lambda leaf: leaf[:1], batch)), rtol=1e-12)


def test_missing_labels_of_several_tasks_are_those_of_a_loop_over_what_is_present(x64):
    """A panel: targets NaN where they are missing, of a whole task in a row, or of one of its columns."""
    batch, params = joint(), as_type(multitask_params(), float)
    weights = {"age": np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 1], [0.5, 2]]), "species": np.array([1.0, 0, 1, 0, 3, 1])}
    ages = jnp.where(weights["age"] == 0, jnp.nan, batch.y["age"])
    species = jnp.where(weights["species"] == 0, -1, batch.y["species"])
    missing = batch._replace(y={"age": ages, "species": species}, weights=weights)

    def naive(params):
        """Sums over the labels that there are, one by one."""
        units = batch.x @ params.encoder["body"]
        features = jnp.tanh(units - units.mean(axis=0, keepdims=True)) @ params.encoder["head"]
        guesses, logits = features @ params.head["age"].head, jax.nn.log_softmax(features @ params.head["species"].head)
        totals = {"age": 0.0, "species": 0.0}
        for row in range(6):
            for column in range(2):
                if weights["age"][row, column]:
                    totals["age"] += weights["age"][row, column] * (guesses[row, column] - batch.y["age"][row, column]) ** 2
            if weights["species"][row]:
                totals["species"] -= weights["species"][row] * logits[row, batch.y["species"][row]]
        return jnp.stack([totals[name] / weights[name].sum() for name in ("age", "species")])

    def differentiated(losses):
        return jax.jit(lambda params: (losses(params), jax.jacrev(losses)(params)))(params)

    got = differentiated(lambda params: MULTITASK.joint_losses(params, KEY, missing)[0])
    chex.assert_trees_all_close(got, differentiated(naive), rtol=1e-10, atol=1e-12)


def test_weights_reach_the_inner_loop_the_query_and_the_prototypes(x64):
    """Weights 2, 1 and 0 are rows twice, once and not at all."""
    counts = np.array([2, 1, 0, 1, 1, 1])

    def weighted(task):
        parts = (part._replace(weights=jnp.asarray(counts[: len(part.y)], float)) for part in task[:2])
        return Episode(*parts, task.classes)

    def repeated(task):
        parts = (jax.tree.map(lambda leaf: jnp.repeat(leaf, counts[: len(leaf)], axis=0), part) for part in task[:2])
        return Episode(*parts, task.classes)

    # Without a norm, because a row of weight 0 is a row: its input is seen.
    maml = jmeta.maml(linear(2), jmeta.squared_error, SGD)
    for learner, task in ((maml, regression()), (jmeta.prototypical_networks(linear(4)), classification())):
        params = as_type(params_of(learner.init, task), float)
        slope = jax.jit(jax.grad(lambda params, task, learner=learner: learner.loss(params, KEY, task)[0]))
        one, other = (slope(params, given) for given in (weighted(task), repeated(task)))
        chex.assert_trees_all_close(one, other, rtol=1e-12, atol=1e-12)


def test_parameters_that_are_made_from_the_first_task_see_real_rows():
    """A model whose first scale is that of its inputs, in a task, in several and among classes."""
    model = jmeta.from_functions(lambda key, x: jnp.abs(x).max(axis=0), lambda params, x: x / params[None])
    head = jmeta.from_functions(lambda key, x: (), lambda params, x: x)
    makers = {
        "maml": (jmeta.maml(model, jmeta.squared_error, SGD).init, regression()),
        "prototypical_networks": (jmeta.prototypical_networks(model).init, classification()),
    }
    for init, task in makers.values():
        for filler in FILLERS.values():
            np.testing.assert_array_equal(init(KEY, spread_episode(task, filler)), jnp.abs(task.support.x).max(axis=0))
    several = jmeta.hard_parameter_sharing(model, {"y": jmeta.Task(head, jmeta.squared_error)})
    batch = spread(regression().support, SUPPORT, SUPPORT, FILLERS["NaN"])
    for data in ({"y": batch}, batch._replace(y={"y": batch.y})):
        np.testing.assert_array_equal(several.init(KEY, data).encoder, jnp.abs(regression().support.x).max(axis=0))


# --- trees of inputs and outputs --------------------------------------------------------------------------------------------------


def test_inputs_and_outputs_may_be_trees_whose_masked_rows_never_matter(x64):
    """A sequence with the length of each row, and a mean with its deviation."""

    def init(key, x):
        return {"mean": jnp.full(2, 0.3), "deviation": jnp.array([0.1, -0.2])}

    def apply(params, x):
        there = jnp.arange(x["sequence"].shape[1])[None] < x["length"][:, None]
        summary = jnp.stack([jnp.where(there, x["sequence"], 0).sum(axis=1), jnp.log(1.0 + x["length"])], axis=1)
        return {"mean": summary @ params["mean"], "deviation": summary @ params["deviation"]}

    def likelihood(outputs, targets):
        return jnp.square((outputs["mean"] - targets) / jnp.exp(outputs["deviation"])) / 2 + outputs["deviation"]

    def rows(seed, count):
        x = {"sequence": draw(seed, count, 3), "length": jnp.arange(count) % 4}
        return Batch(x, draw(seed + 9, count))

    episode = Episode(rows(1, 6), rows(2, 4))
    learner = jmeta.maml(jmeta.from_functions(init, apply), likelihood, SGD, num_steps=2)
    params = learner.init(KEY, episode)
    masked, plain = masked_and_plain(learner.loss, episode)
    for filler in FILLERS:
        got, expected = masked(params, numbers(filler), SUPPORT, QUERY), plain(params)
        chex.assert_trees_all_close((got[0][0], got[1]), (expected[0][0], expected[1]), rtol=1e-12, atol=1e-12)


def test_half_precision_sums_what_a_plain_mean_sums():
    """1,000 losses of 100 add up to more than float16 holds, with weights as without."""
    batch = Batch(jnp.zeros(1000, jnp.float16), jnp.full(1000, 10, jnp.float16))
    for given in (batch, batch._replace(weights=jnp.ones(1000)), batch._replace(mask=jnp.arange(1000) < 999)):
        value = jmeta.score(jmeta.squared_error, batch.x, given)
        assert (value, value.dtype) == (100, jnp.float16)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mask": jnp.ones(2)}, "mask must hold booleans, in an array; got float32: what rows count is for weights"),
        ({"mask": jnp.ones(2, int)}, "mask must hold booleans, in an array; got int32: what rows count is for weights"),
        ({"mask": [True, False]}, "mask must hold booleans, in an array; got list: what rows count is for weights"),
        (
            {"weights": jnp.ones((2, 3))},
            r"weights must have the first axes of what loss_fn gives; got weights \(2, 3\) for \(2, 1\)",
        ),
        ({"weights": {"y": jnp.ones(2)}}, "weights must be one array, of the first axes of the losses; got dict"),
    ],
)
def test_what_counts_is_said_by_booleans_and_by_weights_of_the_losses(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        jmeta.score(jmeta.squared_error, jnp.zeros((2, 1)), Batch(jnp.zeros((2, 1)), jnp.zeros((2, 1)))._replace(**changes))
