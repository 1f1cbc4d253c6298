"""The cache of compiled programs: on for one command, in a folder that is the user's alone."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

VARIABLE = "JMETA_COMPILATION_CACHE"
OFF = "off"
FOLDER = "jax_compilation_cache_dir"
LEAST = "jax_persistent_cache_min_compile_time_secs"
WORTH_KEEPING = 0.5  # Seconds of compilation.


@contextlib.contextmanager
def compilation_cache(say: Callable[[str], None]) -> Iterator[None]:
    """Keeps compiled programs for the next command, and leaves jax's settings as they were.

    The folder is that of the variable ``JMETA_COMPILATION_CACHE``, ``off`` for none, by default ``jmeta/compilation`` in the
    user's cache folder. A cache that jax has been given otherwise stays. What lies there runs as code, so that a folder in which
    somebody else may write is not used.

    Args:
      say: is given a sentence if the folder cannot be used.
    """
    wanted = os.environ.get(VARIABLE) or _default_folder()
    if wanted == OFF or getattr(jax.config, FOLDER):
        yield
        return
    folder = Path(wanted)
    if problem := _problem(folder):
        say(f"no compilation cache: {problem}; give another folder by {VARIABLE}=DIR, or {VARIABLE}={OFF}.")
        yield
        return
    settings: dict[str, str | float] = {FOLDER: str(folder)}
    if LEAST.upper() not in os.environ:
        settings[LEAST] = WORTH_KEEPING
    previous = {name: getattr(jax.config, name) for name in settings}
    _set(settings)
    try:
        yield
    finally:
        _set(previous)


def _set(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    # The folder is looked up once, at the first compilation.
    jax_cache.reset_cache()


def _default_folder() -> str:
    # A relative XDG_CACHE_HOME is to be ignored.
    root = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(root if os.path.isabs(root) else os.path.expanduser("~/.cache"), "jmeta", "compilation")


def _problem(folder: Path) -> str | None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        return f"folder {folder} cannot be made ({error.strerror})"
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        return f"others may write in folder {folder}"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"folder {folder} cannot be written"
