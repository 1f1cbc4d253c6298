"""Which of several sources to transfer from."""

from collections.abc import Callable, Mapping
from typing import Any

from jmeta.transfer._logme import logme


def rank_sources(
    sources: Mapping[str, Any], targets: Any, *, score: Callable[[Any, Any], float] = logme
) -> list[tuple[str, float]]:
    """Orders sources by what a score says of them, the best first, without any training.

    Args:
      sources: by name, what each makes of the examples of the task: features, or whatever the score takes first.
      targets: of these examples.
      score: more is better: :func:`jmeta.transfer.logme`, :func:`jmeta.transfer.h_score`, :func:`jmeta.transfer.leep` of
        probabilities, :func:`jmeta.transfer.negative_conditional_entropy` of guesses, or one's own.

    Returns:
      Pairs of name and score; of equal scores in the order given.

    Raises:
      ValueError: if there is no source, or as the score does.

    >>> from jmeta.transfer import h_score
    >>> ranked = rank_sources({"a": [[0.0], [1.0], [0.0], [1.0]], "b": [[0.0], [0.0], [1.0], [1.0]]}, [0, 0, 1, 1], score=h_score)
    >>> [name for name, _ in ranked]
    ['b', 'a']
    """
    if not sources:
        raise ValueError("sources must name at least one source; got none.")
    scores = {name: float(score(found, targets)) for name, found in sources.items()}
    return sorted(scores.items(), key=lambda entry: -entry[1])
