"""Meta-learning, multi-task learning and knowledge transfer on one functional core."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jmeta import aggregation as aggregation
    from jmeta import checkpointing as checkpointing
    from jmeta import metrics as metrics
    from jmeta import nn as nn
    from jmeta import plotting as plotting
    from jmeta import tasks as tasks
    from jmeta import testing as testing
    from jmeta import transfer as transfer
    from jmeta import weighting as weighting
    from jmeta._public import *
    from jmeta.aggregation import *
    from jmeta.metric_based import *
    from jmeta.model_based import *
    from jmeta.multitask import *
    from jmeta.optimization_based import *
    from jmeta.tasks import *
    from jmeta.unified import *
    from jmeta.weighting import *

__version__ = "0.1.0"

_SUBMODULES = ("aggregation", "checkpointing", "metrics", "nn", "plotting", "tasks", "testing", "transfer", "weighting")
# Who lists public names, each once: in its imports and its __all__.
_LISTS = (
    "_public.py",
    "aggregation/__init__.py",
    "metric_based/__init__.py",
    "model_based/__init__.py",
    "multitask/__init__.py",
    "optimization_based/__init__.py",
    "tasks/__init__.py",
    "unified/__init__.py",
    "weighting/__init__.py",
)


def _listed(path: str) -> Iterator[tuple[str, str]]:
    """Reads ``(name, module)`` off the imports of a list, which is not run: what a name needs is loaded when it is used."""
    for statement in ast.parse(pkgutil.get_data("jmeta", path) or b"").body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            # A name that is imported as itself stays in its family.
            yield from ((alias.name, statement.module) for alias in statement.names if alias.asname is None)


_NAMES = {name: module for path in _LISTS for name, module in _listed(path)}

__all__ = [*_NAMES, *_SUBMODULES]  # pyright: ignore[reportUnsupportedDunderAll]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"jmeta.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'jmeta' has no attribute {name!r}.")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
