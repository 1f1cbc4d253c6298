"""Omniglot (Lake, Salakhutdinov and Tenenbaum, 2015) in the split of Vinyals et al. (2016): 1,028 / 172 / 423 characters.

Every character counts four times, rotated by quarter turns: 4,112 / 688 / 1,692 classes of 20 drawings.
"""

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jmeta._types import Sampler
from jmeta.tasks._arrays import from_classes
from jmeta.tasks._reading import DAMAGE, check_shape, located, read_arrays

SPLITS = ("train", "validation", "test")
SIZE, DRAWINGS = 28, 20
ARCHIVE = "omniglot28.npz"
ZIPS = ("images_background.zip", "images_evaluation.zip")
ADVICE = f"put {ZIPS[0]} and {ZIPS[1]} from github.com/brendenlake/omniglot (folder python), or {ARCHIVE}, there"
# The order of the characters in omniglot28.npz, so that both sources give the same episodes.
ALPHABETS: Sequence[str] = """
Arcadian Armenian Asomtavruli_(Georgian) Balinese Bengali Blackfoot_(Canadian_Aboriginal_Syllabics) Braille Cyrillic
Early_Aramaic Syriac_(Estrangelo) Anglo-Saxon_Futhorc Futurama Grantha Greek Gujarati Hebrew Japanese_(hiragana)
Inuktitut_(Canadian_Aboriginal_Syllabics) Malay_(Jawi_-_Arabic) Japanese_(katakana) Korean Latin Alphabet_of_the_Magi
Mkhedruli_(Georgian) Burmese_(Myanmar) N_Ko Ojibwe_(Canadian_Aboriginal_Syllabics) Sanskrit Tagalog Tifinagh Angelic
Atemayar_Qelisayer Atlantean Aurek-Besh Avesta Ge_ez Glagolitic Gurmukhi Kannada Keble Malayalam Manipuri Mongolian
Old_Church_Slavonic_(Cyrillic) Oriya Syriac_(Serto) Sylheti Tengwar Tibetan ULOG
""".split()  # noqa: SIM905
# Whole alphabets, except that Gurmukhi is divided.
VALIDATION_ALPHABETS = frozenset({"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"})
TRAINING_EVALUATION_ALPHABETS = frozenset(
    {"Angelic", "Atemayar_Qelisayer", "Atlantean", "Aurek-Besh", "Avesta", "Ge_ez", "Glagolitic"}
)
DIVIDED_ALPHABET, LAST_TRAINING_CHARACTER = "Gurmukhi", 41


def omniglot(
    path: str | Path | None,
    split: str,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    rotations: bool = True,
) -> Sampler:
    """Draws episodes of handwritten characters, ``x [n, 28, 28, 1]`` with ink 1 on 0.

    Args:
      path: a folder with ``omniglot28.npz``, or with the official ``images_background.zip`` and ``images_evaluation.zip`` (which
        need the extra ``images``), or such an npz file; None looks in the folder ``omniglot`` of ``$JMETA_DATA``.
      split: ``"train"``, ``"validation"`` or ``"test"``.
      ways: classes of an episode.
      shots: support drawings per class.
      queries: query drawings per class.
      rotations: make each character four classes, as Vinyals et al. do in every split.

    Raises:
      ValueError: if ``split`` is unknown or an archive is damaged; as :func:`from_arrays` for the counts.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}.")
    found = located(path, "Omniglot", "omniglot", ((ARCHIVE,), ZIPS), ADVICE)
    images = _read_archive(found[0], split) if found[0].suffix == ".npz" else _read_zips(found[0].parent, split)
    counts = np.full(len(images), DRAWINGS)
    return from_classes(images[..., None], counts, ways=ways, shots=shots, queries=queries, rotations=rotations)


def _read_archive(file: Path, split: str) -> np.ndarray:
    """Reads ``images [1623, 20, 28, 28]`` and the split's classes from an npz file."""
    name = f"vinyals_{'val' if split == 'validation' else split}"
    images, classes = read_arrays(file, "Omniglot", ("images", name))
    check_shape(file, "images", images, ("characters", DRAWINGS, SIZE, SIZE))
    return images[np.unique(classes[:, 0])]


def _read_zips(folder: Path, split: str) -> np.ndarray:
    """Reads the 105x105 drawings of a split from the official archives, reduced to 28x28 as MAML and ProtoNet do."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading the official Omniglot archives needs pillow: pip install 'jmeta[images]'.") from error
    characters: dict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
    for name in ZIPS:
        try:
            with zipfile.ZipFile(folder / name) as archive:
                for entry in sorted(archive.namelist()):
                    if (place := _character(entry)) and _split_of(*place, background=name == ZIPS[0]) == split:
                        with Image.open(io.BytesIO(archive.read(entry))) as drawing:
                            small = drawing.convert("L").resize((SIZE, SIZE), Image.Resampling.NEAREST)
                            characters[ALPHABETS.index(place[0]), place[1]].append(255 - np.asarray(small))
        except DAMAGE as error:
            raise ValueError(f"path {folder / name} is no sound Omniglot archive ({error}); expected the official one.") from error
    if not characters:
        raise ValueError(f"path {folder} must hold drawings of the {split} split; got none.")
    for alphabet, number in sorted(characters):
        if (count := len(characters[alphabet, number])) != DRAWINGS:
            raise ValueError(
                f"path {folder} must hold {DRAWINGS} drawings of every character; got {count} of character {number} of "
                f"{ALPHABETS[alphabet]}."
            )
    return np.stack([np.stack(characters[place]) for place in sorted(characters)])


def _character(entry: str) -> tuple[str, int] | None:
    """Parts ``images_background/Greek/character03/0394_01.png`` into alphabet and number."""
    match = re.search(r"([^/]+)/character(\d+)/[^/]+\.png$", entry)
    return (match[1], int(match[2])) if match and "__MACOSX" not in entry else None


def _split_of(alphabet: str, character: int, *, background: bool) -> str:
    if background:
        return "validation" if alphabet in VALIDATION_ALPHABETS else "train"
    early = alphabet == DIVIDED_ALPHABET and character <= LAST_TRAINING_CHARACTER
    return "train" if early or alphabet in TRAINING_EVALUATION_ALPHABETS else "test"
