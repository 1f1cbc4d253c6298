"""Texts as the ids of their words, in arrays of one length."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jmeta._options import check_counts

WORD = re.compile(r"\w+(?:'\w+)*")


class Vocabulary(NamedTuple):
    """The words that have an id of their own; any other shares one of those that are left with whatever else falls on it.

    Attributes:
      words: the id of each, ``0, ..., len(words) - 1``.
      size: how many ids there are.
    """

    words: Mapping[str, int]
    size: int


def build_vocabulary(texts: Iterable[str], *, least: int = 2, buckets: int = 256) -> Vocabulary:
    """Gives an id to each word that texts hold often enough, the most frequent first.

    Made of texts to train on alone, it says nothing of others. Words that are rare in these share ids as new ones do, so that the
    vectors of such ids are learnt too.

    >>> build_vocabulary(["Is it on?", "It is off."], buckets=3)
    Vocabulary(words={'is': 0, 'it': 1}, size=5)

    Args:
      texts: to train on. Words are runs of letters, digits and apostrophes in lower case.
      least: how often a word has to occur.
      buckets: ids that all other words share, each falling on one by its CRC-32; with 1 all of them are the same unknown word.

    Raises:
      ValueError: if an option is no whole number of at least 1.
    """
    check_counts(least=least, buckets=buckets)
    counts = Counter(word for text in texts for word in words_of(text))
    kept = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    return Vocabulary({word: number for number, word in enumerate(kept)}, len(kept) + buckets)


def encode_texts(texts: Sequence[str], vocabulary: Vocabulary, *, length: int) -> dict[str, np.ndarray]:
    """Turns texts into ``{"ids": [n, length], "mask": [n, length]}``, as :class:`jmeta.nn.RecurrentEncoder` takes them.

    >>> encode_texts(["It is on"], build_vocabulary(["it is"], least=1, buckets=1), length=4)["ids"].tolist()
    [[1, 0, 2, 0]]

    Args:
      texts: longer ones are cut.
      vocabulary: the ids.
      length: words of a row; the mask marks the real ones.

    Raises:
      ValueError: if ``length`` is no whole number of at least 1.
    """
    check_counts(length=length)
    ids, mask = np.zeros((len(texts), length), np.int32), np.zeros((len(texts), length), bool)
    for row, text in enumerate(texts):
        found = [_id(word, vocabulary) for word in words_of(text)[:length]]
        ids[row, : len(found)], mask[row, : len(found)] = found, True
    return {"ids": ids, "mask": mask}


def words_of(text: str) -> list[str]:
    """Parts a text into words."""
    return WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def _id(word: str, vocabulary: Vocabulary) -> int:
    known = len(vocabulary.words)
    # Not hash(), which differs from process to process.
    return vocabulary.words.get(word, known + zlib.crc32(word.encode()) % (vocabulary.size - known))
