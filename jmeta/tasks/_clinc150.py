"""CLINC150 (Larson et al., 2019, EMNLP): 22,500 requests to an assistant, of 150 intents in ten domains.

Requests that are out of scope are left out.
"""

from pathlib import Path
from typing import Any

from jmeta._types import Sampler
from jmeta.tasks._intents import Intents, by_intent, episodes_of, read_json, texts_of
from jmeta.tasks._reading import located
from jmeta.tasks._texts import Vocabulary, build_vocabulary

ARCHIVE, OFFICIAL = "clinc150.json.gz", ("data_full.json", "domains.json")
ADVICE = f"put {OFFICIAL[0]} and {OFFICIAL[1]} from github.com/clinc/oos-eval (folder data) there"
SPLITS, PARTS = ("train", "validation", "test"), ("train", "val", "test")
TRAINING_DOMAINS = ("auto_and_commute", "home", "kitchen_and_dining", "travel", "utility")
# Of a training domain's intents in alphabetical order, every fifth from the third on.
FIRST_HELD, HELD_STEP = 2, 5


def clinc150(
    path: str | Path | None,
    split: str,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    length: int = 24,
    vocabulary: Vocabulary | None = None,
) -> Sampler:
    """Draws episodes of requests to tell apart by intent, ``x = {"ids": [n, length], "mask": [n, length]}``.

    Training and test are of different domains: ``"train"`` has 60 intents of auto_and_commute, home, kitchen_and_dining, travel and
    utility, ``"validation"`` the 15 others of these, ``"test"`` the 75 of the five other domains, those of money among them. An
    intent has about 150 requests, whichever part of the original split they were in.

    Args:
      path: a folder with ``data_full.json`` and ``domains.json``, or with ``clinc150.json.gz``, or such a file; None looks in the
        folder ``clinc150`` of ``$JMETA_DATA``.
      split: ``"train"``, ``"validation"`` or ``"test"``.
      ways: intents of an episode.
      shots: support requests per intent.
      queries: query requests per intent.
      length: words of a request; a few are longer, and cut.
      vocabulary: the ids of words; those of :func:`clinc150_vocabulary` by default.

    Raises:
      ValueError: if ``split`` is unknown or a file is damaged; as :func:`jmeta.from_arrays` for the counts.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}.")
    parts = _read(path)
    vocabulary = build_vocabulary(texts_of(parts["train"])) if vocabulary is None else vocabulary
    return episodes_of(parts[split], vocabulary, length=length, ways=ways, shots=shots, queries=queries)


def clinc150_vocabulary(path: str | Path | None, *, buckets: int = 256) -> Vocabulary:
    """Gives the ids of the words that the training intents hold at least twice, as :func:`jmeta.tasks.build_vocabulary` does.

    Args:
      path: as for :func:`clinc150`.
      buckets: ids that all other words share.

    Raises:
      ValueError: if a file is damaged, or ``buckets`` is no whole number of at least 1.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    return build_vocabulary(texts_of(_read(path)["train"]), buckets=buckets)


def _read(path: str | Path | None) -> dict[str, Intents]:
    """Gives the intents of each part."""
    files = located(path, "CLINC150", "clinc150", ((ARCHIVE,), OFFICIAL), ADVICE)
    data, *domains = (read_json(file, "CLINC150") for file in files)
    if not isinstance(data, dict) or not set(PARTS) <= set(data):
        raise ValueError(f"path {files[0]} must hold lists {', '.join(PARTS)} by name; got {_keys(data)}.")
    intents = by_intent(files[0], (data[part] for part in PARTS))
    domain_of = _domains(files[-1], domains[0] if domains else data.get("domains"))
    if strange := sorted(set(intents) ^ set(domain_of)):
        raise ValueError(f"path {files[-1]} must name the domain of each intent, and no other; got {', '.join(strange[:3])}.")
    training = sorted(intent for intent in intents if domain_of[intent] in TRAINING_DOMAINS)
    held = set()
    for domain in TRAINING_DOMAINS:
        held |= set([intent for intent in training if domain_of[intent] == domain][FIRST_HELD::HELD_STEP])
    split_of = {intent: "validation" if intent in held else "train" for intent in training}
    return {split: {name: intents[name] for name in intents if split_of.get(name, "test") == split} for split in SPLITS}


def _domains(file: Path, domains: Any) -> dict[str, str]:
    lists = isinstance(domains, dict) and all(isinstance(intents, list) for intents in domains.values())
    if not lists or not set(TRAINING_DOMAINS) < set(domains):
        wanted = f"lists of intents by domain, {', '.join(TRAINING_DOMAINS)} among them"
        raise ValueError(f"path {file} must hold {wanted}; got {_keys(domains)}.")
    return {intent: domain for domain, intents in domains.items() for intent in intents}


def _keys(found: Any) -> str:
    return (", ".join(map(str, found)) or "nothing") if isinstance(found, dict) else type(found).__name__
