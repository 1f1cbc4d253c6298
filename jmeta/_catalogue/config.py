"""Reading and writing ``config.json``, and the ranges of options."""

import dataclasses
import json
import math
import os
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jmeta._catalogue.options import SECTIONS, Config, values_of
from jmeta._catalogue.tables import default_config

CONFIG = "config.json"
MAY_BE_ZERO = frozenset(
    {
        "inner_steps",
        "seed",
        "evaluation_steps",
        "evaluation_seed",
        "split_seed",
        "damping",
        "dropout",
        "halvings",
        "jitter",
        "orthogonality",
        "penalty_strength",
        "shift",
    }
)
LIMIT = 2**31


def write_json(path: Path, value: Any) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)


def write_config(directory: str | Path, config: Config) -> None:
    """Writes ``config.json``."""
    write_json(Path(directory) / CONFIG, dataclasses.asdict(config))


def read_config(directory: str | Path) -> Config:
    """Reads ``config.json``.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is not what ``jmeta train`` writes, naming the file.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"directory {directory} holds no run; expected a {CONFIG}, as jmeta train writes it.")
    try:
        found = json.loads(path.read_text())
        defaults = default_config(found["method_name"], found["problem_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"file {path} is damaged ({error!r}); expected what jmeta train writes.") from error
    return from_json(Config, found, defaults, f"file {path}")


def from_json(kind: type, found: Any, default: Any, place: str) -> Any:
    """Makes the dataclass ``kind`` of what :func:`write_config` wrote; ``default`` tells the classes of its sections.

    Raises:
      ValueError: if keys are missing or unknown or a value has the wrong type, naming ``place`` and the key.
    """
    hints = get_type_hints(kind)
    if not isinstance(found, dict):
        raise ValueError(f"{place} must hold options by name; got {found!r}.")
    if missing := sorted(hints.keys() - found.keys()):
        raise ValueError(f"{place} lacks {', '.join(missing)}; expected what jmeta train writes.")
    if unknown := sorted(found.keys() - hints.keys()):
        raise ValueError(f"{place} holds the unknown {', '.join(unknown)}; expected {', '.join(hints) or 'nothing'}.")
    values = {}
    for name, value in found.items():
        section = getattr(default, name)
        if dataclasses.is_dataclass(section):
            values[name] = from_json(type(section), value, section, f"{place}, {name},")
            continue
        values[name] = tuple(value) if isinstance(value, list) else value
        if not fits(values[name], hints[name]):
            expected = getattr(hints[name], "__name__", None) if isinstance(hints[name], type) else None
            raise ValueError(f"{place} must hold {expected or hints[name]} as {name}; got {value!r}.")
    return kind(**values)


def check_ranges(config: Config) -> None:
    """Refuses numbers that no run can use.

    Raises:
      ValueError: naming the option.
    """
    for section in SECTIONS:
        for name, value in values_of(getattr(config, section)):
            if isinstance(value, tuple) and not value:
                raise ValueError(f"{name} must hold at least one number; got none.")
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, bool) or not isinstance(number, int | float):
                    continue
                low = 0 if name in MAY_BE_ZERO else math.ulp(0.0)
                if not low <= number < LIMIT:
                    expected = "at least 0" if name in MAY_BE_ZERO else "above 0"
                    raise ValueError(f"{name} must be {expected} and below 2^31; got {number}.")


def fits(value: Any, hint: Any) -> bool:
    """Says whether a value has the type of an option."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin is UnionType:
        return any(fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(item, arguments[0]) for item in value)
    return type(value) in (int, float) if hint is float else type(value) is hint
