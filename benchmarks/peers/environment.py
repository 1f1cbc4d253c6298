"""Makes the virtual environment of the peers with pip."""

import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SOURCES = "sources"  # inside the environment; holds what is imported without being installed
MARK = "peers.json"
DEPENDENCIES = ("numpy>=2.0", "optree>=0.20", "graphviz>=0.20", "typing-extensions>=4.10")
# What TorchJD solves its programs with.
SOLVERS = ("scipy>=1.14", "cvxpy>=1.7", "clarabel>=0.11", "ecos>=2.0.14", "qpsolvers>=4.8", "quadprog>=0.1.13")
# Without their dependencies, so that none of them replaces the chosen build of PyTorch.
PEERS = ("higher==0.2.1", "torchopt==0.7.3", "torchjd==0.18.0")
LEARN2LEARN = "learn2learn==0.2.0"
# pip asks a source distribution for its metadata before it hands it over. learn2learn's build no longer answers; this one does,
# from the metadata that the distribution carries, and runs nothing of it.
BACKEND = """
import email
import pathlib
import sys

__legacy__ = sys.modules[__name__]


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(directory, config_settings=None):
    metadata = pathlib.Path("PKG-INFO").read_bytes()
    fields = email.message_from_bytes(metadata)
    folder = pathlib.Path(directory, f"{fields['Name']}-{fields['Version']}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_bytes(metadata)
    return folder.name
"""


def python_of(environment: Path) -> Path:
    """Names the interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_environment(environment: Path, torch: str) -> Path:
    """Makes the environment, or takes it as it is if it was made for the same requirements; gives its interpreter.

    Args:
      environment: the folder.
      torch: the requirement of PyTorch, with options of pip if need be.

    Raises:
      RuntimeError: if pip fails.
    """
    wanted = {"torch": torch, "packages": [*DEPENDENCIES, *SOLVERS, *PEERS, LEARN2LEARN]}
    mark = environment / MARK
    if mark.exists() and json.loads(mark.read_text()) == wanted:
        return python_of(environment)
    print(f"making the environment of the peers in {environment}", flush=True)
    run([sys.executable, "-m", "venv", str(environment)])
    pip(environment, ["install", *shlex.split(torch), *DEPENDENCIES, *SOLVERS])
    pip(environment, ["install", "--no-deps", *PEERS])
    unpack_source(environment, LEARN2LEARN)
    mark.write_text(json.dumps(wanted, indent=1) + "\n")
    return python_of(environment)


def unpack_source(environment: Path, requirement: str) -> None:
    """Downloads a source distribution and unpacks it into the environment without building anything."""
    with tempfile.TemporaryDirectory() as name:
        backend = Path(name, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(BACKEND)
        options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--use-pep517", "--dest", name]
        pip(environment, ["download", *options, requirement], {"PYTHONPATH": str(backend.parent)})
        (archive,) = Path(name).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(environment / SOURCES, filter="data")


def pip(environment: Path, arguments: list[str], variables: dict[str, str] | None = None) -> None:
    """Runs the environment's pip."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    run([str(python_of(environment)), "-m", "pip", *options, *arguments], variables)


def run(command: list[str], variables: dict[str, str] | None = None) -> None:
    """Runs a command that must succeed; ``variables`` are added to the process's."""
    done = subprocess.run(command, env=os.environ | (variables or {}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"making the environment failed at {shlex.join(command)}:\n{done.stderr.strip()}")
