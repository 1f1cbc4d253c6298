"""Checks of the options of a function: counts, positive numbers, shares, models."""

from typing import Any

import numpy as np
from jax.core import Tracer

from jmeta._types import Model


def check_counts(low: int = 1, **counts: Any) -> None:
    """Checks that options are whole numbers of at least ``low``; None stands for an option that is not given.

    Raises:
      ValueError: naming the first that is not.
    """
    for name, value in counts.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if value is not None and not (whole and value >= low):
            raise ValueError(f"{name} must be a whole number of at least {low}; got {value!r}.")


def check_positive(**values: Any) -> None:
    """Checks that options are positive numbers, where they are known, which is outside jit.

    Raises:
      ValueError: naming the first that is not.
    """
    for name, value in values.items():
        if not isinstance(value, Tracer) and not value > 0:
            raise ValueError(f"{name} must be positive; got {value!r}.")


def check_share(**values: float) -> None:
    """Checks that options are numbers from 0 to 1.

    Raises:
      ValueError: naming the first that is not.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1; got {value}.")


def check_model(name: str, model: Any) -> None:
    """Checks that a model is one, and not a module of a library.

    Raises:
      ValueError: if it is not.
    """
    if not isinstance(model, Model):
        raise ValueError(
            f"{name} must be a Model; got {type(model).__name__}: make one by from_linen, from_nnx, from_equinox or from_functions."
        )
