"""Office-Caltech (Gong, Shi, Sha and Grauman, 2012, CVPR): ten kinds of things in four collections of photographs."""

from pathlib import Path

from jmeta._types import Batch
from jmeta.tasks._domains import read_domains
from jmeta.tasks._reading import located

ARCHIVE, DOMAINS, WORDS, CLASSES = "office_caltech_surf800.npz", ("caltech10", "amazon", "webcam", "dslr"), 800, 10
ADVICE = f"put {ARCHIVE} with counts NAME_x [n, {WORDS}] and labels NAME_y [n] for each of {', '.join(DOMAINS)} there"


def office_caltech(path: str | Path | None) -> dict[str, Batch]:
    """Reads photographs of ten kinds of things: ``x [n, 800]`` counts of visual words (SURF), ``y [n]`` labels, by domain.

    The domains are ``caltech10``, ``amazon``, ``webcam`` and ``dslr``. Counts are divided by their sum and made z-scores of their
    domain before they are compared, as a rule.

    Args:
      path: a folder with ``office_caltech_surf800.npz``, or such a file; None looks in the folder ``office_caltech_surf`` of
        ``$JMETA_DATA``.

    Raises:
      ValueError: if the file is damaged or holds something else.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    (file,) = located(path, "Office-Caltech", "office_caltech_surf", ((ARCHIVE,),), ADVICE)
    return read_domains(file, "Office-Caltech", DOMAINS, WORDS, CLASSES)
