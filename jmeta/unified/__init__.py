"""Multi-task learning by meta-learning."""

from jmeta.unified._embeddings import attention_between_tasks
from jmeta.unified._learner import unified_learner
from jmeta.unified._meta_learner import attention_meta_learner
from jmeta.unified._modulation import modulating_meta_learner
from jmeta.unified._multitask import unified_multitask
from jmeta.unified._parts import MetaLearner, TaskEncoder
from jmeta.unified._phases import add_task, follow_strategies
from jmeta.unified._strategy import Strategy, learning_strategy, task_embedding
from jmeta.unified._task_encoder import attention_task_encoder

__all__ = [
    "MetaLearner",
    "Strategy",
    "TaskEncoder",
    "add_task",
    "attention_between_tasks",
    "attention_meta_learner",
    "attention_task_encoder",
    "follow_strategies",
    "learning_strategy",
    "modulating_meta_learner",
    "task_embedding",
    "unified_learner",
    "unified_multitask",
]
