"""Fifty steps of a weighting to compare with a recurrence in NumPy, and Adam by hand."""

import jax
import jax.numpy as jnp
import numpy as np


class Adam:
    """Algorithm 1 of Kingma and Ba on arrays ``[tasks]``, moving the tasks that are present."""

    def __init__(self, rate, tasks):
        self.rate, self.first, self.second, self.count = rate, np.zeros(tasks), np.zeros(tasks), np.zeros(tasks)

    def step(self, values, gradient, present=True):
        self.count = self.count + present
        self.first = np.where(present, 0.9 * self.first + 0.1 * gradient, self.first)
        self.second = np.where(present, 0.999 * self.second + 0.001 * gradient**2, self.second)
        counts = np.maximum(self.count, 1)
        first, second = self.first / (1 - 0.9**counts), self.second / (1 - 0.999**counts)
        return np.where(present, values - self.rate * first / (np.sqrt(second) + 1e-8), values)


def run(weighting, losses, after=None, rows=None, present=None):
    """The last state and the weights ``[steps, tasks]`` for losses ``[steps, tasks]``, in one program."""
    steps, tasks = losses.shape
    present = np.ones(losses.shape, bool) if present is None else present
    rows = np.zeros((steps, tasks, 1)) if rows is None else rows
    given = (losses, losses if after is None else after, rows, present)

    def step(state, now):
        key, (losses, after, rows, present) = now
        weights, state = weighting.weigh(
            state, losses, present=present, key=key, pullback=lambda weights: {"w": weights @ rows, "other": weights.sum()}
        )
        return (state if weighting.observe is None else weighting.observe(state, after, present=present)), weights

    def all_steps(given):
        return jax.lax.scan(step, weighting.init(tasks), (jax.random.split(jax.random.key(0), steps), given))

    # Arrays of NumPy, because every way of indexing one of jax is a program.
    return jax.device_get(jax.jit(all_steps)(given))


def draw(all_present=False):
    """Losses ``[50, 3]`` before and after each step, and who is present: of each task most, in one step nobody."""
    generator = np.random.default_rng(0)
    falling = np.exp(-np.outer(np.arange(50), [0.05, 0.01, 0.03])) * [3.0, 0.5, 20.0]
    losses, after = (falling * generator.uniform(0.7, 1.3, size=(50, 3)) for _ in range(2))
    present = (generator.uniform(size=(50, 3)) < 0.8) | all_present
    present[7] = all_present
    return losses * present, after * present, present


def softmax(values):
    exponentials = np.exp(values - values.max())
    return exponentials / exponentials.sum()


def weights_of(state, weighting, losses):
    """The weights of one set of losses, all present."""
    given = {"present": np.ones(len(losses), bool), "key": None, "pullback": None}
    return jax.device_get(jax.jit(lambda *known: weighting.weigh(*known, **given)[0])(state, jnp.asarray(losses)))
