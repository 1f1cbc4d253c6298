"""What breaks a promise of multi-task models is found; those that keep them are in tests/test_families.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta import testing
from jmeta._objectives import through_features
from jmeta._presence import with_presence
from tests.multitask.models import KEY

SHARED = jmeta.hard_parameter_sharing


def filled(x, mask):
    return x if mask is None else jnp.where(mask[:, None], x, 0)


def plain(encoder, tasks, params, name, x, key=None, mask=None, *, fill=filled):
    """What hard parameter sharing predicts, by hand."""
    if name not in tasks:
        raise ValueError(f"name must be a task; got {name}.")
    features = encoder.apply(params.encoder, fill(x, mask), key=key, mask=mask)
    return tasks[name].head.apply(params.head[name].head, features, key=key, mask=mask)


def judged(loss_fn, outputs, batch):
    value = jmeta.score(loss_fn, outputs, batch)
    return value, with_presence({"loss": value}, batch)


def together(losses):
    """Joint losses and their metrics of ``{name: (loss, metrics)}``."""
    values, known = jnp.stack([loss for loss, _ in losses.values()]), {}
    present = jnp.stack([jnp.asarray(metrics.get("present", True)) for _, metrics in losses.values()])
    for (name, (loss, _)), there in zip(losses.items(), present, strict=True):
        known[f"{name}/loss"] = jnp.where(there, loss, jnp.nan)
    return values, {"loss": jnp.where(present, values, 0).sum() / jnp.maximum(present.sum(), 1), "present": present} | known


def by_hand(predict=plain, judge=judged, joint=None):
    """A way of sharing by ``predict(encoder, tasks, params, name, x, key, mask)`` and ``judge(loss_fn, outputs, batch)``."""

    def build(encoder, tasks):
        of_model = functools.partial(predict, encoder, tasks)

        def objective(name, params, key, batch, *, step=0):
            return judge(tasks[name].loss_fn, of_model(params, name, batch.x, key, batch.mask), batch)

        objectives = {name: functools.partial(objective, name) for name in sorted(tasks)}

        def sound(params, key, batch, *, step=0):
            each = {name: batch._replace(y=batch.y[name], weights=batch.weights[name]) for name in objectives}
            return together({name: objectives[name](params, key, part) for name, part in each.items()})

        losses = sound if joint is None else functools.partial(joint, sound)
        return SHARED(encoder, tasks)._replace(
            predict=lambda params, name, x, *, key=None, mask=None: of_model(params, name, x, key, mask),
            objectives=objectives,
            joint_losses=losses,
        )

    return build


def drawing(encoder, tasks, params, name, x, key=None, mask=None):
    """Noise in training that is a way of sharing's own."""
    outputs = plain(encoder, tasks, params, name, x, key, mask)
    return outputs if key is None else outputs * jax.random.uniform(key, outputs.shape, outputs.dtype)


APART = {"shares_features": False}


@pytest.mark.parametrize(
    ("build", "options"),
    [(by_hand(), APART), (by_hand(drawing), APART | {"draws": True}), (SHARED, {"shape": (2, 2, 3)})],
    ids=["by hand", "with noise", "images"],
)
def test_what_is_broken_below_keeps_its_promises(build, options):
    testing.check_multitask(build, **options)


# --- what is broken ---------------------------------------------------------------------------------------------------------------


def altered(change):
    """Predictions changed by ``change(outputs, x, mask)``."""
    return by_hand(lambda *given: change(plain(*given), given[4], given[6] if len(given) > 6 else None))


def replaced(**changes):
    """Hard parameter sharing of which something is replaced: ``{name: change(model)}``."""

    def build(encoder, tasks):
        model = SHARED(encoder, tasks)
        return model._replace(**{name: change(model) for name, change in changes.items()})

    return build


def initial(change):
    """Parameters changed by ``change(params, data)``."""
    return replaced(init=lambda model: lambda key, data: change(model.init(key, data), data))


def with_own(params, own):
    return params._replace(head={name: part._replace(encoder=own) for name, part in params.head.items()})


def rows_of(data):
    return (data if isinstance(data, jmeta.Batch) else next(iter(data.values()))).x


def costing(change):
    """Objectives changed by ``change(value, metrics, batch) -> (value, metrics)``; joint losses are of them."""

    def judge(loss_fn, outputs, batch):
        value, metrics = judged(loss_fn, outputs, batch)
        return change(value, metrics, batch)

    return by_hand(judge=judge)


def counts(batch):
    real = True if batch.weights is None else batch.weights > 0
    return real if batch.mask is None else real & batch.mask.reshape(-1, *[1] * (jnp.ndim(real) - 1))


def nothing(batch):
    return ~jnp.any(counts(batch))


def plain_mean(loss_fn, outputs, batch):
    value, metrics = judged(loss_fn, outputs, batch._replace(weights=None))
    return jnp.where(nothing(batch), 0, value), with_presence(metrics, batch)


def jointly(change):
    """Joint losses changed by ``change(values, metrics)``."""
    return by_hand(joint=lambda sound, params, key, batch, *, step=0: change(*sound(params, key, batch)))


def with_frozen_encoder(sound, params, key, batch, *, step=0):
    return sound(params._replace(encoder=jax.lax.stop_gradient(params.encoder)), key, batch)


def past_features(model):
    """What goes around the features has no gradient by them."""
    encode, losses_of = model.joint_losses.args

    def reaching(params, features, key, batch, *, step=0):
        return losses_of(params, encode(params, key, batch), key, batch, step=step)

    return functools.partial(through_features, encode, reaching)


def one_by_one(model):
    """The encoder runs for each task."""

    def losses(params, key, batch, *, step=0):
        each = {name: batch._replace(y=batch.y[name], weights=batch.weights[name]) for name in model.names}
        return together({name: model.objectives[name](params, key, part) for name, part in each.items()})

    return losses


def without(what):
    return lambda encoder, tasks, params, name, x, key=None, mask=None: plain(
        encoder, tasks, params, name, x, *(None if what == "key" else key, None if what == "mask" else mask)
    )


def times_mask(encoder, tasks, params, name, x, key=None, mask=None):
    return plain(encoder, tasks, params, name, x, key, mask, fill=lambda x, mask: x if mask is None else x * mask[:, None])


def of_another(encoder, tasks, params, name, x, key=None, mask=None):
    """The head of one task looks at that of another."""
    return plain(encoder, tasks, params, name, x, key, mask) + params.head["kind"].head.sum()


def trunk(init, features):
    return lambda encoder, tasks: jmeta.multitask_model(
        jmeta.Trunk(
            lambda key, x: init(encoder.init(key, next(iter(x.values()))), x),
            lambda params, x, name, *, key=None, mask=None: features(encoder, params, name, key, mask)(x),
        ),
        tasks,
    )


def scaled_for_one(encoder, params, name, key, mask):
    scale = params.encoder[1] if name == "kind" else 1.0
    return lambda x: scale * encoder.apply(params.encoder[0], x, key=key, mask=mask)


def as_they_are(encoder, params, name, key, mask):
    return lambda x: encoder.apply(params.encoder, x, key=key, mask=mask)


def divided_by_others(encoder, tasks):
    """A mean over the other tasks, of which there are none where one is alone."""
    others = len(tasks) - 1
    return altered(lambda outputs, x, mask: outputs if others else outputs / jnp.zeros(()))(encoder, tasks)


def of_two(encoder, tasks):
    model = by_hand()(encoder, tasks)

    def losses(*given, **step):
        values, metrics = model.joint_losses(*given, **step)
        return values[:2], metrics

    return model._replace(joint_losses=losses)


FORMS = {
    "names in another order": (
        replaced(names=lambda model: ("kind", "area")),
        r"names must be those of the tasks and their objectives in alphabetical order, \['area', 'kind'\]; got \['kind', 'area'\]",
    ),
    "an objective that lacks": (
        replaced(objectives=lambda model: {"kind": model.objectives["kind"]}),
        r"names must be those of the tasks and their objectives .*\['area', 'kind'\] and \['kind'\]",
    ),
    "a name of no task": (
        by_hand(
            lambda encoder, tasks, params, name, *given: plain(encoder, tasks, params, name if name in tasks else "kind", *given)
        ),
        r"predict must refuse the name of no task in a sentence; got a result",
    ),
    "a name of no task that is looked up": (
        by_hand(lambda encoder, tasks, params, name, *given: plain(encoder, tasks, params, (name, params.head[name])[0], *given)),
        r"predict must refuse the name of no task in a sentence; got a KeyError",
    ),
    "heads that do not say what is own": (
        initial(lambda params, data: params._replace(head={name: part.head for name, part in params.head.items()})),
        r"must give EncoderHead\(shared, \{name: EncoderHead\(own, head\)\}\) with the names of the tasks",
    ),
    "parameters of integers": (
        initial(lambda params, data: with_own(params, jnp.zeros((), int))),
        r"init must give floating-point leaves of a type that steps keep; got int32 at head/area/encoder",
    ),
    "parameters that are weakly typed": (
        initial(lambda params, data: with_own(params, jnp.asarray(1.0))),
        r"init must give floating-point leaves .*; got weakly typed float32 at head/area/encoder",
    ),
    "parameters for each row": (
        initial(lambda params, data: with_own(params, jnp.ones(len(rows_of(data))))),
        r"init must give the same shapes for one batch and for a batch a task; got .*float32\[4\]",
    ),
    "init by masked rows": (
        initial(lambda params, data: params._replace(encoder=params.encoder + rows_of(data).mean())),
        r"init must not depend on masked rows; got parameters that are not finite",
    ),
    "a look at the values": (
        altered(lambda outputs, x, mask: outputs if x.sum() > 0 else -outputs),
        r"predict must run under jit, for batches of any size; got an error: Attempted boolean",
    ),
    "a batch size that is built in": (
        altered(lambda outputs, x, mask: outputs + jnp.arange(6.0).reshape(6, *[1] * (outputs.ndim - 1))),
        r"predict must run under jit, for batches of any size; got an error",
    ),
    "one output for all rows": (
        altered(lambda outputs, x, mask: outputs.mean(axis=0, keepdims=True)),
        r"predict must give one row per example, \[4, ...\]; got \[1, 2, 2\] of area",
    ),
    "a loss for each row": (
        costing(lambda value, metrics, batch: (value[None], metrics)),
        r"objectives\['area'\] must give floating-point losses of shape \[\]; got float32\[1\]",
    ),
    "metrics of rows": (
        costing(lambda value, metrics, batch: (value, metrics | {"rows": batch.x})),
        r"objectives\['area'\] must give scalar metrics; got shapes \{'rows': \(4, 3\)\}",
    ),
    "joint losses that are added up": (
        jointly(lambda values, metrics: (values.sum(), {})),
        r"joint_losses must give floating-point losses of shape \[2\]; got float32\[\]",
    ),
    "a constant in float32": (
        altered(lambda outputs, x, mask: outputs * np.float32(2)),
        r"predict must give outputs of the type of parameters and inputs, bfloat16; got float32",
    ),
    "a key that is lost": (
        by_hand(without("key")),
        r"predict must give its parts the key and the mask that it has, key=True and mask=True; got key=False and mask=True",
    ),
    "a mask that is lost": (
        by_hand(without("mask")),
        r"predict must give its parts the key and the mask .*; got key=True and mask=False",
    ),
    "a key where there is none": (
        by_hand(lambda *given: plain(*given[:5], KEY, *given[6:])),
        r"predict must give its parts .* key=False and mask=False; got key=True and mask=False for encoder",
    ),
    "an encoder that runs for each task": (
        replaced(joint_losses=one_by_one),
        r"joint_losses must run the encoder once .*; got shares_features=True and 2 runs, where the objectives have 2",
        {"shares_features": True},
    ),
    "an encoder that runs once": (SHARED, r"joint_losses must run the encoder once .*; got shares_features=False and 1 runs"),
}
VALUES = {
    "noise that is not said": (
        by_hand(drawing),
        r"objectives must use its key exactly where draws says so; .* one that changes with it",
    ),
    "noise that there is not": (by_hand(), r"objectives must use its key exactly .* one that ignores it", {"draws": True}),
    "a loss that is not finite": (
        costing(lambda value, metrics, batch: (jnp.log(-jnp.abs(value)), metrics)),
        r"losses must be finite and have finite gradients; got NaN or infinity",
    ),
    "joint losses in another order": (
        jointly(lambda values, metrics: (values[::-1], metrics)),
        r"joint_losses must be the objectives of the tasks, in the order of their names, with the same gradients",
    ),
    "joint losses without a gradient": (by_hand(joint=with_frozen_encoder), r"joint_losses must be the objectives of the tasks"),
    "joint losses past their features": (
        replaced(joint_losses=past_features),
        r"joint_losses must be the objectives of the tasks, .* with the same gradients",
    ),
    "0 * NaN in rows": (by_hand(times_mask), r"objectives must not depend on what masked rows hold, such as nan"),
    "a mean over all rows": (
        costing(lambda value, metrics, batch: (value * jnp.where(nothing(batch), 0, jnp.mean(jnp.abs(batch.x))), metrics)),
        r"objectives must not depend on what masked rows hold, such as nan",
    ),
    "weights of rows alone": (by_hand(judge=plain_mean), r"objectives must not depend on a target of weight 0, such as nan"),
    "a mean over nothing": (
        costing(lambda value, metrics, batch: (jnp.where(nothing(batch), jnp.nan, value), metrics)),
        r"objectives must be 0 and have a gradient of zeros of a task whose targets are all absent; got losses \[ *nan",
    ),
    "a penalty for masked rows": (
        costing(lambda value, metrics, batch: (value + (0 if batch.mask is None else ~batch.mask.any()), metrics)),
        r"objectives must be 0 and have a gradient of zeros where all rows are masked; got losses \[1. 1.\]",
    ),
    "losses by the number of tasks that are there": (
        jointly(lambda values, metrics: (values * metrics["present"].mean(), metrics)),
        r"joint_losses must be the same where another task is absent",
    ),
    "a metric that is not the loss": (
        costing(lambda value, metrics, batch: (value, metrics | {"loss": 2 * value})),
        r"objectives must give metrics of what each task costs; got .* for area/loss as it is",
    ),
    "nothing that says who is there": (
        jointly(lambda values, metrics: (values, {name: metrics[name] for name in metrics if name != "present"})),
        r"joint_losses must give metrics of what each task costs; got None for present",
    ),
    "a mean over those who are absent": (
        jointly(lambda values, metrics: (values, metrics | {"loss": values.mean()})),
        r"joint_losses must give metrics of what each task costs; got .* for loss without area",
    ),
    "a metric of those who are absent": (
        jointly(lambda values, metrics: (values, metrics | {"kind/loss": values[1]})),
        r"joint_losses must give metrics of what each task costs; got 0.0 for kind/loss without .*, expected nan",
    ),
    "shared by one task": (
        trunk(lambda encoder, x: jmeta.EncoderHead([encoder, jnp.ones(())], dict.fromkeys(x, ())), scaled_for_one),
        r"shared parameters must be reached by the losses of two tasks; got encoder/1, which is reached by \['kind'\]",
    ),
    "own that two tasks reach": (
        by_hand(of_another),
        r"own parameters must be reached by the loss of their task, .*; got head/kind/head, .* by \['area', 'kind'\]",
    ),
    "own that is not used": (
        trunk(lambda encoder, x: jmeta.EncoderHead(encoder, {name: jnp.ones(2) for name in x}), as_they_are),
        r"own parameters must be reached by the loss of their task, .*; got head/area/encoder, which is reached by \[\]",
    ),
    "a loss that is doubled": (
        costing(lambda value, metrics, batch: (2 * value, metrics | {"loss": 2 * value})),
        r"objectives must be the losses of what predict says, each target by its weight",
    ),
    "weights that say yes or no": (
        by_hand(
            judge=lambda loss_fn, outputs, batch: judged(
                loss_fn, outputs, batch if batch.weights is None else batch._replace(weights=jnp.sign(batch.weights))
            )
        ),
        r"objectives must be the losses of what predict says, each target by its weight",
    ),
    "rows beside the number of rows": (
        altered(lambda outputs, x, mask: outputs * len(x)),
        r"objectives must be the same for the rows that count alone as for a mapped batch with masked rows and weights of 0",
    ),
    "a task that is alone": (divided_by_others, r"joint_losses of one task alone must be its objective"),
    "no more than two": (of_two, r"joint_losses must give one loss per task, whatever their number; got float32\[2\] of 3"),
}


@pytest.mark.parametrize("name", [*FORMS, *VALUES])
def test_broken_promises_are_found(name):
    build, sentence, *options = (FORMS | VALUES)[name]
    with pytest.raises(ValueError, match=sentence):
        testing.check_multitask(build, **APART | dict(*options))
