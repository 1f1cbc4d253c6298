"""Settings for the whole suite."""

import os

import jax
import jaxlib
import pytest

# Compiling is most of the suite's time: the suite does without LLVM's optimisations, here and in the processes that it starts, and
# without the emitters of fused loops. No backend is there yet that would have read the flags; a newer jaxlib does not know this
# one, and would end the process.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if jaxlib.version.__version_info__ < (0, 11):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)  # all but tests of sharding use the first
# No test, nor a process that one starts, writes in the user's cache folder.
os.environ["JMETA_COMPILATION_CACHE"] = "off"


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module():
    """Lets go of what a module has compiled: a process that keeps the programs of all of them takes gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def usual_compilation():
    """For modules whose tests are about the bits that users get."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def x64():
    """Float64 for one test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="session")
def real_data():
    """Gives the folder of real data of a name; a test that needs it is skipped where it is absent."""

    def folder(name):
        root = os.environ.get("JMETA_DATA")
        if not root or not os.path.isdir(os.path.join(root, name)):
            pytest.skip(f"no {name} data: set JMETA_DATA to the folder that holds it as '{name}'.")
        return os.path.join(root, name)

    return folder


@pytest.fixture(scope="session")
def omniglot_path(real_data):
    """The folder of the real Omniglot data."""
    return real_data("omniglot")
