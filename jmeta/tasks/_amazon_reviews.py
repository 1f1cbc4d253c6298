"""Reviews of four kinds of products (Blitzer, Dredze and Pereira, 2007, ACL), by the 400 most frequent words."""

from pathlib import Path

from jmeta._types import Batch
from jmeta.tasks._domains import read_domains
from jmeta.tasks._reading import located

ARCHIVE, DOMAINS, WORDS, CLASSES = "amazon_review400.npz", ("books", "dvd", "elec", "kitchen"), 400, 2
ADVICE = f"put {ARCHIVE} with words NAME_x [n, {WORDS}] and labels NAME_y [n] for each of {', '.join(DOMAINS)} there"


def amazon_reviews(path: str | Path | None) -> dict[str, Batch]:
    """Reads reviews of products: ``x [n, 400]``, 1 where a word occurs, ``y [n]`` whether it was liked, by domain.

    The domains are ``books``, ``dvd``, ``elec`` (electronics) and ``kitchen``, about 2,000 reviews each, half of them good.

    Args:
      path: a folder with ``amazon_review400.npz``, or such a file; None looks in the folder ``amazon_review400`` of
        ``$JMETA_DATA``.

    Raises:
      ValueError: if the file is damaged or holds something else.
      FileNotFoundError: if the data is not there, saying what to put where.
    """
    (file,) = located(path, "Amazon review", "amazon_review400", ((ARCHIVE,),), ADVICE)
    return read_domains(file, "Amazon review", DOMAINS, WORDS, CLASSES)
