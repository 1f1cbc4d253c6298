"""Arrays laid over devices."""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def dividing(tasks: int) -> int:
    """Counts the devices of a CPU that a number of tasks can be laid over equally; an accelerator is measured alone."""
    return math.gcd(tasks, jax.device_count()) if jax.default_backend() == "cpu" else 1


def over_devices(tree: Any, count: int, *axes: str | None) -> Any:
    """Lays arrays over ``count`` devices in blocks along the dimension at ``"task"``; without axes, copies them to each."""
    mesh = Mesh(np.array(jax.devices()[:count]), ("task",), axis_types=(AxisType.Auto,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))
