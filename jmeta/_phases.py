"""Training steps that are made of several: games with an adversary, and parts that learn at different speeds."""

from typing import Any

import jax

from jmeta._presence import prefixed
from jmeta._steps import Step, TrainState
from jmeta._types import Metrics


def alternate(*phases: tuple[Step, int]) -> Step:
    """Makes one training step of several, each with an optimiser of its own, one after another on the same parameters and data.

    Its state is :func:`alternating_state` of the phases' states. The metrics are those of the first phase; those of the second are
    named ``phase_2/loss``. A phase that repeats reports its last time.

    Args:
      *phases: pairs ``(step, repeats)``, the step from :func:`jmeta.make_step`; with :func:`jmeta.trainable` a phase moves some
        parameters alone.

    Raises:
      ValueError: if there is no phase, a phase repeats less than once, or the state is that of other phases.
    """
    if not phases or any(not isinstance(repeats, int) or repeats < 1 for _, repeats in phases):
        raise ValueError(f"phases must be pairs of a step and how often it repeats, at least once; got {[*phases]}.")

    def step(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        of_phases = (isinstance(part, tuple) and len(part) == len(phases) for part in (state.optimizer_state, state.memory))
        if not all(of_phases):
            raise ValueError(f"state must be alternating_state(...) of {len(phases)} states, one for each phase.")
        params, ended, found = state.params, [], {}
        for index, (phase, repeats) in enumerate(phases):
            own = (state.optimizer_state[index], state.memory[index], jax.random.fold_in(state.key, index), state.step * repeats)
            moved, metrics = jax.lax.scan(
                lambda inner, _, phase=phase: phase(inner, data), TrainState(params, *own), length=repeats
            )
            params, ended = moved.params, [*ended, (moved.optimizer_state, moved.memory)]
            last = jax.tree.map(lambda values: values[-1], metrics)
            found |= last if index == 0 else prefixed(f"phase_{index + 1}", last)
        optimizer_state, memory = zip(*ended, strict=True)
        return TrainState(params, optimizer_state, memory, state.key, state.step + 1), found

    return step


def alternating_state(*states: TrainState) -> TrainState:
    """Starts :func:`alternate` from the states of its phases; parameters, key and step are those of the first.

    Raises:
      ValueError: if there is no state.
    """
    if not states:
        raise ValueError("states must hold one state for each phase; got none.")
    optimizer_states, memories = (tuple(getattr(state, name) for state in states) for name in ("optimizer_state", "memory"))
    return states[0]._replace(optimizer_state=optimizer_states, memory=memories)
