"""What importing jmeta costs and offers."""

import ast
import importlib
import json
import subprocess
import sys
import textwrap

import pytest

import jmeta

HEAVY = ("flax", "orbax", "scipy.stats", "sklearn", "matplotlib", "tyro", "PIL", "equinox", "rich", "tensorboardX", "http.client")


def in_a_new_process(code):
    """Runs code that prints one JSON value."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_loads_nothing_heavy():
    loaded = in_a_new_process(f"""
        import jax, optax, json, sys
        before = set(sys.modules)
        import jmeta
        heavy = [name for name in {HEAVY!r} if any(new == name or new.startswith(name + ".") for new in set(sys.modules) - before)]
        print(json.dumps([heavy, sorted(name for name in set(sys.modules) - before if name.startswith("jmeta"))]))
    """)
    assert loaded == [[], ["jmeta"]]


def test_importing_opens_no_connection_and_starts_no_backend():
    # An audit hook sees every socket and every file opened for writing.
    events = in_a_new_process("""
        import json, sys
        import jax, optax
        seen = []
        def hook(event, arguments):
            writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
            written = writes and not str(arguments[0]).partition(".pyc")[1]
            if event.startswith(("socket.", "urllib", "subprocess", "os.system")) or written:
                seen.append(event)
        sys.addaudithook(hook)
        import jmeta
        from jax._src import xla_bridge
        print(json.dumps([seen, xla_bridge.backends_are_initialized()]))
    """)
    assert events == [[], False]


@pytest.mark.parametrize("name", sorted(jmeta.__all__))
def test_a_public_name_resolves_and_is_documented(name):
    found = getattr(jmeta, name)
    assert (found.__doc__ or "").strip()
    if hasattr(found, "__name__") and not name.islower():
        assert found.__name__ == name


def test_public_names_are_listed_once():
    assert len(jmeta.__all__) == len(set(jmeta.__all__))
    assert set(jmeta.__all__) <= set(dir(jmeta))
    assert dir(jmeta) == sorted(dir(jmeta))
    assert "__version__" in dir(jmeta)


def test_a_star_import_brings_all_of_them():
    space = {}
    exec("from jmeta import *", space)
    assert set(jmeta.__all__) <= set(space)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'jmeta' has no attribute 'mamll'"):
        _ = jmeta.mamll


@pytest.mark.parametrize("path", jmeta._LISTS)
def test_a_list_offers_what_it_says_to_programs_and_to_type_checkers(path):
    listed = importlib.import_module("jmeta." + path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    assert sorted(listed.__all__) == sorted(name for name, _ in jmeta._listed(path))
    for name, module in jmeta._listed(path):
        assert getattr(jmeta, name) is getattr(listed, name) is getattr(importlib.import_module(module), name)


def test_type_checkers_read_every_list():
    with open(jmeta.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"]
    seen = {(statement.module, alias.name) for statement in block.body for alias in statement.names}
    stars = {f"jmeta.{path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for path in jmeta._LISTS}
    assert seen == {("jmeta", name) for name in jmeta._SUBMODULES} | {(module, "*") for module in stars}


def test_every_module_imports_on_its_own():
    for module in sorted(set(jmeta._NAMES.values()) | {f"jmeta.{name}" for name in jmeta._SUBMODULES}):
        assert importlib.import_module(module).__doc__
