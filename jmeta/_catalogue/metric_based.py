"""The rows of the learners that compare with examples."""

from jmeta._catalogue.options import Nothing
from jmeta._catalogue.rows import CLASSIFICATION, Method, Setting
from jmeta._types import Learner
from jmeta.metric_based._prototypical import prototypical_networks


def _prototypical_networks(options: Nothing, setting: Setting) -> Learner:
    del options
    return prototypical_networks(setting.network.encoder, loss_fn=setting.loss_fn)


METHODS = {
    "prototypical_networks": Method(
        "classifies by the distance to each class's mean feature (Snell 2017)",
        frozenset({CLASSIFICATION}),
        Nothing,
        _prototypical_networks,
        {"evaluation_steps": 0},
        {
            "glyphs": {"ways": 20, "queries": 5, "normalization": "group", "tasks_per_step": 1},
            "omniglot": {"ways": 60, "queries": 5, "normalization": "group", "tasks_per_step": 1, "steps": 9_000},
        },
        any_ways=True,
    ),
}
