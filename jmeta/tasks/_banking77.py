"""Banking77 (Casanueva et al., 2020, 2003.04807): 13,083 questions to a bank, of 77 intents that differ in little."""

import csv
import io
from pathlib import Path
from typing import Any

from jmeta._types import Sampler
from jmeta.tasks._intents import Intents, by_intent, episodes_of, read_json, texts_of
from jmeta.tasks._reading import DAMAGE, located
from jmeta.tasks._texts import Vocabulary, build_vocabulary

ARCHIVE, OFFICIAL, PARTS = "banking77.json.gz", ("train.csv", "test.csv"), ("train", "test")
ADVICE = f"put {OFFICIAL[0]} and {OFFICIAL[1]} from github.com/PolyAI-LDN/task-specific-datasets (folder banking_data) there"
SPLITS = ("train", "validation", "test")
ALL = "all"


def banking77(
    path: str | Path | None,
    split: str,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    length: int = 32,
    vocabulary: Vocabulary | None = None,
) -> Sampler:
    """Draws episodes of questions to tell apart by intent, ``x = {"ids": [n, length], "mask": [n, length]}``.

    Of the intents in alphabetical order every third is in ``"train"``, ``"validation"`` and ``"test"``, so that each has its share
    of those that are alike. ``"all"`` has all 77: another domain for what was trained elsewhere, with its ``vocabulary``. An intent
    has 75 to 227 questions, whichever part of the original split they were in.

    Args:
      path: a folder with ``train.csv`` and ``test.csv``, or with ``banking77.json.gz``, or such a file; None looks in the folder
        ``banking77`` of ``$JMETA_DATA``.
      split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``.
      ways: intents of an episode.
      shots: support questions per intent.
      queries: query questions per intent.
      length: words of a question; 4 in 100 are longer, and cut.
      vocabulary: the ids of words, such as :func:`jmeta.tasks.clinc150_vocabulary`; those of :func:`banking77_vocabulary` by
        default.

    Raises:
      ValueError: if ``split`` is unknown or a file is damaged; as :func:`jmeta.from_arrays` for the counts.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    if split not in (*SPLITS, ALL):
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, {ALL}; got {split!r}.")
    parts = _read(path)
    vocabulary = build_vocabulary(texts_of(parts["train"])) if vocabulary is None else vocabulary
    return episodes_of(parts[split], vocabulary, length=length, ways=ways, shots=shots, queries=queries)


def banking77_vocabulary(path: str | Path | None, *, buckets: int = 256) -> Vocabulary:
    """Gives the ids of the words that the training intents hold at least twice, as :func:`jmeta.tasks.build_vocabulary` does.

    Args:
      path: as for :func:`banking77`.
      buckets: ids that all other words share.

    Raises:
      ValueError: if a file is damaged, or ``buckets`` is no whole number of at least 1.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    return build_vocabulary(texts_of(_read(path)["train"]), buckets=buckets)


def _read(path: str | Path | None) -> dict[str, Intents]:
    """Gives the intents of each part."""
    files = located(path, "Banking77", "banking77", ((ARCHIVE,), OFFICIAL), ADVICE)
    if files[0].name.endswith(".gz"):
        data = read_json(files[0], "Banking77")
        if not isinstance(data, dict) or not set(PARTS) <= set(data):
            raise ValueError(f"path {files[0]} must hold lists {' and '.join(PARTS)} by name; got {type(data).__name__}.")
        parts = [data[part] for part in PARTS]
    else:
        parts = [_read_official(file) for file in files]
    intents = by_intent(files[0], parts)
    names = sorted(intents)
    if len(names) < len(SPLITS):
        raise ValueError(f"path {files[0]} must hold at least {len(SPLITS)} intents; got {', '.join(names) or 'none'}.")
    chosen = {split: names[first :: len(SPLITS)] for first, split in enumerate(SPLITS)} | {ALL: names}
    return {split: {name: intents[name] for name in members} for split, members in chosen.items()}


def _read_official(file: Path) -> list[Any]:
    """Reads the rows of a table with columns text and category."""
    try:
        head, *rows = csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline=""), strict=True)
        if head != ["text", "category"]:
            raise ValueError(f"columns {', '.join(head)}")
    except (*DAMAGE, csv.Error) as error:
        raise ValueError(f"path {file} is not a sound file of Banking77 ({error}); expected columns text and category.") from error
    return rows
