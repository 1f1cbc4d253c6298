"""Arrays laid over devices."""

import math
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def devices_for(tasks: int) -> int:
    """Counts the devices of a CPU that a number of tasks can be laid over equally; an accelerator is measured alone."""
    return math.gcd(tasks, jax.device_count()) if jax.default_backend() == "cpu" else 1


def over_devices(tree: Any, count: int, *axes: str | None) -> Any:
    """Lays arrays over ``count`` devices in blocks along the dimension at ``"task"``; without axes, copies them to each."""
    mesh = jax.make_mesh((count,), ("task",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))
