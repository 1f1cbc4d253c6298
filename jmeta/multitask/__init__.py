"""Several tasks in one network."""

from jmeta.multitask._hard_sharing import MultitaskModel, Task, hard_parameter_sharing

__all__ = [
    "MultitaskModel",
    "Task",
    "hard_parameter_sharing",
]
