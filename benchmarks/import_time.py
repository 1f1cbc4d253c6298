"""Measures what ``import jmeta`` adds to jax and optax: the median difference of alternated pairs of new processes."""

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

BASE = "import jax, optax"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
RESULT = Path(__file__).parent / "results" / "import.json"


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def measure(pairs: int) -> dict:
    """Times both imports, the order within a pair alternating so that a drift of the machine cancels."""
    codes = {"base": BASE, "with_jmeta": f"{BASE}, jmeta"}
    for code in codes.values():
        seconds(code)  # the first runs write bytecode and fill the page cache
    times: dict[str, list[float]] = {name: [] for name in codes}
    for pair in range(pairs):
        for name in sorted(codes, reverse=bool(pair % 2)):
            times[name].append(seconds(codes[name]))
    differences = [after - before for before, after in zip(times["base"], times["with_jmeta"], strict=True)]
    return {
        "seconds_added": statistics.median(differences),
        "seconds_base": statistics.median(times["base"]),
        "differences": differences,
        "pairs": pairs,
        "target": 0.15,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=11, help="pairs of processes")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON file to write")
    arguments = parser.parse_args()
    result = measure(arguments.pairs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"import jmeta adds {result['seconds_added']:.3f} s to {result['seconds_base']:.3f} s of jax and optax")


if __name__ == "__main__":
    main()
