"""What takes the training steps."""

import optax

from jmeta._catalogue.options import Config


def outer_optimizer(config: Config) -> optax.GradientTransformation:
    """Makes what takes the training steps."""
    training = config.training
    schedules = {
        "constant": optax.constant_schedule(training.learning_rate),
        "cosine": optax.cosine_decay_schedule(training.learning_rate, training.steps),
        "linear": optax.linear_schedule(training.learning_rate, 0, training.steps),
    }
    optimizer = optax.adam if training.outer_optimizer == "adam" else optax.sgd
    made = optimizer(schedules[training.schedule])
    return made if training.clip_norm is None else optax.chain(optax.clip_by_global_norm(training.clip_norm), made)
