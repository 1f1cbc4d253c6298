"""The stages of deep clustering (Xie et al., 2016, 1511.06335, section 3.1.3): all are assigned, then the assignment is learnt."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jmeta._options import check_counts, check_share
from jmeta._rows import count_rows
from jmeta._steps import init_state, make_step
from jmeta._types import Batch
from jmeta.predictions import predict_batch
from jmeta.tasks._groups import minibatches
from jmeta.training import fit
from jmeta.transfer._deep_embedded_clustering import ClusterParams, DeepClustering
from jmeta.transfer._k_means import Clusters, k_means


def refine_clusters(
    model: DeepClustering,
    params: ClusterParams,
    x: Any,
    optimizer: optax.GradientTransformation,
    *,
    stages: int,
    steps: int = 140,
    batch_size: int = 256,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> tuple[ClusterParams, np.ndarray]:
    """Trains deep clustering until next to no example changes its cluster.

    Args:
      model: deep clustering.
      params: where it starts, see :func:`jmeta.transfer.start_clusters`.
      x: all examples, leaves ``[n, ...]``.
      optimizer: the authors' is ``optax.sgd(0.1, momentum=0.99)``.
      stages: how many at most.
      steps: of a stage, in which the targets stay.
      batch_size: examples of a step, all of them where there are fewer.
      tolerance: the share of examples that change their cluster in a stage, below which it ends.
      seed: of what is drawn.

    Returns:
      The parameters, and ``[n]`` the cluster of each example.

    Raises:
      ValueError: if counts are no whole numbers of at least 1, the tolerance is no share, or as the objective does.
    """
    check_counts(stages=stages, steps=steps, batch_size=batch_size)
    check_share(tolerance=tolerance)
    examples = Batch(x, None)
    step, state = make_step(model.objective, optimizer), init_state(params, optimizer, jax.random.key(seed))
    shares = predict_batch(model.assign, state.params, examples).outputs
    sampler = minibatches(x, shares, min(batch_size, count_rows(x)))
    for stage in range(1, stages + 1):
        # One way of sampling for all stages is one compiled loop.
        sampler = sampler._replace(data=sampler.data._replace(y=model.targets(shares)))
        state, _ = fit(step, state, sampler, num_steps=stage * steps, steps_per_chunk=steps, progress=False)
        before, shares = shares.argmax(axis=1), predict_batch(model.assign, state.params, examples).outputs
        if (shares.argmax(axis=1) != before).mean() < tolerance:
            break
    return state.params, shares.argmax(axis=1)


def start_clusters(
    model: DeepClustering, encoder: Any, x: Any, clusters: int, *, decoder: Any = (), restarts: int = 20, seed: int = 0
) -> tuple[ClusterParams, Clusters]:
    """Starts deep clustering at k-means on the features as they are.

    Args:
      model: deep clustering.
      encoder: the parameters of its encoder.
      x: all examples, leaves ``[n, ...]``.
      clusters: how many.
      decoder: the parameters of its decoder, if it has one.
      restarts: of k-means.
      seed: of k-means.

    Returns:
      The parameters, and the clusters of k-means, to be compared with.

    Raises:
      ValueError: as :func:`jmeta.transfer.k_means`.
    """
    empty = ClusterParams(encoder, jnp.zeros((0, 0)), decoder)
    features = predict_batch(model.encode, empty, Batch(x, None)).outputs
    found = k_means(features, clusters, restarts=restarts, seed=seed)
    return empty._replace(centroids=jnp.asarray(found.centroids, features.dtype)), found
