"""Several tasks in one network."""

from jmeta.multitask._evaluation import evaluate_tasks, task_validator
from jmeta.multitask._hard_sharing import hard_parameter_sharing
from jmeta.multitask._multitask import MultitaskModel, Task, Trunk, multitask_model

__all__ = [
    "MultitaskModel",
    "Task",
    "Trunk",
    "evaluate_tasks",
    "hard_parameter_sharing",
    "multitask_model",
    "task_validator",
]
