"""Multi-task learning by meta-learning."""

from jmeta.unified._learner import unified_learner
from jmeta.unified._meta_learner import MetaLearner, attention_meta_learner
from jmeta.unified._task_encoder import TaskEncoder, attention_task_encoder

__all__ = ["MetaLearner", "TaskEncoder", "attention_meta_learner", "attention_task_encoder", "unified_learner"]
