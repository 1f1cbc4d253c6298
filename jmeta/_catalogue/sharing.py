"""The rows of the ways of sharing, with their options."""

from jmeta._catalogue.options import Nothing
from jmeta._catalogue.rows import MultitaskMethod, MultitaskSetting, Sharing
from jmeta._composition import chain
from jmeta.multitask._hard_sharing import hard_parameter_sharing
from jmeta.multitask._multitask import Task


def _tasks(setting: MultitaskSetting) -> dict[str, Task]:
    return {name: target.task for name, target in setting.targets.items()}


def _hard_parameter_sharing(options: Nothing, setting: MultitaskSetting) -> Sharing:
    del options
    return Sharing(hard_parameter_sharing(chain(setting.stages), _tasks(setting)))


METHODS = {
    "hard_parameter_sharing": MultitaskMethod(
        "shares one encoder between heads of the tasks (Caruana 1997)", Nothing, _hard_parameter_sharing
    ),
}
