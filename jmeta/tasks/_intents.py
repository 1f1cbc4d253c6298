"""What readers of texts that say what somebody wants have in common."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jmeta._types import Sampler
from jmeta.tasks._arrays import from_classes
from jmeta.tasks._reading import DAMAGE
from jmeta.tasks._texts import Vocabulary, encode_texts

Intents = Mapping[str, Sequence[str]]  # The texts of each intent.


def read_json(file: Path, kind: str) -> Any:
    """Reads a file of JSON, compressed or not.

    Raises:
      ValueError: if it is none.
    """
    try:
        content = file.read_bytes()
        return json.loads(gzip.decompress(content) if file.suffix == ".gz" else content)
    except DAMAGE as error:
        raise ValueError(f"path {file} is not a sound {kind} file ({error}); expected JSON.") from error


def by_intent(file: Path, parts: Iterable[Any]) -> dict[str, list[str]]:
    """Groups lists of ``[text, intent]``, each text once.

    Raises:
      ValueError: if something else is in them.
    """
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for part in parts:
        for pair in part if isinstance(part, list) else [part]:
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) for word in pair)):
                raise ValueError(f"path {file} must hold lists of texts with their intents, [text, intent]; got {pair!r:.60}.")
            found[pair[1]][pair[0]] = None
    return {intent: [*texts] for intent, texts in found.items()}


def episodes_of(intents: Intents, vocabulary: Vocabulary, *, length: int, ways: int, shots: int, queries: int) -> Sampler:
    """Draws episodes, ``x = {"ids": [n, length], "mask": [n, length]}``, whose classes are intents."""
    names, most = sorted(intents), max(map(len, intents.values()))
    counts = np.array([len(intents[name]) for name in names])
    # Padded by rows without a word, of which from_classes draws none.
    padded = [text for name in names for text in [*intents[name], *[""] * (most - len(intents[name]))]]
    encoded = encode_texts(padded, vocabulary, length=length)
    grouped = {name: array.reshape(len(names), most, length) for name, array in encoded.items()}
    return from_classes(grouped, counts, ways=ways, shots=shots, queries=queries, names=names)


def texts_of(intents: Intents) -> list[str]:
    return [text for texts in intents.values() for text in texts]
