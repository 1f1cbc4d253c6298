"""Tasks over devices: the task axis is the data-parallel axis of a mesh, and the compiler does the rest."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jmeta._objectives import count_tasks
from jmeta._types import Sampler


def shard_tasks(sampler: Sampler, devices: Sequence[Any] | None = None) -> Sampler:
    """Lays the tasks that a sampler draws over devices, in equal blocks; the data they are drawn from is copied to each.

    Nothing else changes: a step of :func:`jmeta.make_step` computes the same numbers up to rounding, each device adapting to tasks
    of its own, and sums their gradients once. Give ``micro_batch``, if any, as a multiple of the number of devices.

    >>> from jmeta.tasks import batch_tasks, sinusoid
    >>> tasks = shard_tasks(batch_tasks(sinusoid(shots=5, queries=10), 8), jax.devices()[:1])
    >>> jax.jit(tasks.sample)(tasks.data, jax.random.key(0)).support.x.shape
    (8, 5, 1)

    Args:
      sampler: draws leaves ``[tasks, ...]``, as from :func:`jmeta.batch_tasks`.
      devices: all of jax's by default. A CPU is one device unless ``JAX_NUM_CPU_DEVICES`` in the environment says otherwise; one
        per core makes MAML over a convolutional network faster, because cores with weights of their own do not wait for each
        other. Large batches through shared weights, as in prototypical networks, gain nothing there.

    Raises:
      ValueError: if there is no device; from ``sample``, if the tasks cannot be divided equally.
    """
    devices = jax.devices() if devices is None else list(devices)
    if not devices:
        raise ValueError("devices must name at least one device; got none.")
    mesh = jax.make_mesh((len(devices),), ("task",), axis_types=(AxisType.Auto,), devices=devices)

    def sample(data: Any, key: jax.Array) -> Any:
        drawn = sampler.sample(data, key)
        if (tasks := count_tasks(drawn)) % len(devices):
            raise ValueError(f"tasks must be a multiple of the number of devices; got {tasks} tasks and {len(devices)} devices.")
        return jax.lax.with_sharding_constraint(drawn, NamedSharding(mesh, PartitionSpec("task")))

    return Sampler(jax.device_put(sampler.data, NamedSharding(mesh, PartitionSpec())), sample)
