"""What is shipped: floors, extras, types, and nothing that belongs to one machine."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import jmeta

ROOT = Path(__file__).parents[1]
# What Colab ships.
FLOORS = {"jax": "0.7.2", "flax": "0.11.2", "optax": "0.2.8", "orbax-checkpoint": "0.12.4", "numpy": "2.0"}
EXTRAS = {"cli": "tyro", "plot": "matplotlib", "images": "pillow", "analysis": "scikit-learn", "log": "tensorboardX"}
TEXT = {".py", ".md", ".toml", ".ipynb", ".json", ".yml", ".yaml", ".cfg", ".txt", ".sh", ""}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_floors_are_colabs_and_nothing_is_capped(project):
    assert project["requires-python"] == ">=3.11"
    assert sorted(project["dependencies"]) == sorted(f"{name}>={floor}" for name, floor in FLOORS.items())
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in [*project["dependencies"], *extras]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+|jmeta\[[\w,]+\]", requirement), requirement
        assert not requirement.startswith("jaxlib")


def test_each_extra_is_one_library(project):
    extras = project["optional-dependencies"]
    assert {name: [re.split("[>=]", part)[0] for part in extras[name]] for name in EXTRAS} == {n: [v] for n, v in EXTRAS.items()}


def test_the_version_is_one_place(project):
    assert "version" in project["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", jmeta.__version__)


def test_the_command_line_entry_exists(project):
    module, _, function = project["scripts"]["jmeta"].partition(":")
    source = ROOT / Path(*module.split(".")).with_suffix(".py")
    assert re.search(rf"^(?:def|from \S+ import) {function}\b", source.read_text(), re.MULTILINE)


def test_types_are_shipped():
    assert (Path(jmeta.__file__).parent / "py.typed").is_file()


@pytest.fixture(scope="module")
def files():
    """The text files of the repository, or of an unpacked source distribution."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = (
        listed.stdout.splitlines() if not listed.returncode else [str(f.relative_to(ROOT)) for f in ROOT.rglob("*") if f.is_file()]
    )
    paths = [ROOT / name for name in names if Path(name).suffix in TEXT and (ROOT / name).is_file()]
    assert len(paths) > 30
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


# Put together here, so that this file passes its own test.
FORBIDDEN = {
    "a pickle load": r"(?:pickle|joblib|dill)\." + r"loads?\(|allow_" + r"pickle=True",
    "a path of one machine": r"(?<![\w.])/(?:" + "|".join(["home", "Users", "root", "work", "mnt"]) + r")/\w",
    "a registry host": r"https?://(?!pypi\.org)[\w.-]*" + r"(?:pypi|artifact|registry|mirror)[\w.-]*",
    "an address of one machine": r"\b(?:10\.\d{1,3}|192\.168|172\.16)\.\d{1,3}\.\d{1,3}\b|localhost" + ":",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(files, what):
    pattern = re.compile(FORBIDDEN[what])
    assert {name: match[0] for name, text in files.items() if (match := pattern.search(text))} == {}


@pytest.mark.parametrize(
    ("what", "sample"),
    [
        ("a pickle load", "pickle." + "load(file)"),
        ("a path of one machine", "open('/ro" + "ot/x')"),
        ("a registry host", "https://my" + "pypi.example/simple"),
        ("an address of one machine", "192.168" + ".0.1"),
    ],
)
def test_the_patterns_find_what_they_are_for(what, sample):
    assert re.search(FORBIDDEN[what], sample)


def test_arrays_are_read_without_pickle(files):
    loads = [call for name, text in files.items() if name.startswith("jmeta/") for call in re.findall(r"np\.load\([^\n]*\)", text)]
    assert loads
    assert not [name for name, text in files.items() if name.startswith("jmeta/") and "import pickle" in text]
    assert all("allow_" + "pickle=False" in call for call in loads)


def test_the_library_prints_and_asserts_nothing(files):
    for name, text in files.items():
        if name.startswith("jmeta/") and name not in ("jmeta/_cli/main.py", "jmeta/__main__.py"):
            assert not re.search(r"^\s*(?:print\(|assert |# ?TODO)", text, re.MULTILINE), name
