"""Compilation, in new processes: cold, and with the cache that an earlier process has filled."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

STEP = """
import time
begin = time.perf_counter()
import json, sys
import jax, optax, flax.linen
import jmeta.nn, jmeta._gradients
from benchmarks.speed import jobs
imported = time.perf_counter()
step, state, data = getattr(jobs, sys.argv[1])()
ready = time.perf_counter()
program = jax.jit(step).lower(state, data).compile()
compiled = time.perf_counter()
jax.block_until_ready(program(state, data))
done = time.perf_counter()
print(json.dumps({"compile": compiled - ready, "after_imports": done - imported, "in_all": done - begin}))
"""


def cold_compile(rounds: int) -> dict[str, Any]:
    """Seconds to trace, lower and compile one step in a process that has no cache."""
    found: dict[str, list[float]] = {"sinusoid_job": [], "convolutional_job": []}
    for _ in range(min(rounds, 3)):
        for job, times in found.items():
            times.append(_new_process(job, None)["compile"])
    return {f"{job.removesuffix('_job')}_seconds": statistics.median(times) for job, times in found.items()}


def second_process(rounds: int) -> dict[str, Any]:
    """Seconds to the first finished convolutional step where another process has compiled it before.

    ``after_imports`` counts what follows the imports: the first parameters, the data, and the step; ``in_all`` the imports too.
    """
    with tempfile.TemporaryDirectory() as folder:
        _new_process("convolutional_job", folder)
        warm = [_new_process("convolutional_job", folder) for _ in range(min(rounds, 5))]
    return {f"{name}_seconds": statistics.median(times[name] for times in warm) for name in ("after_imports", "in_all", "compile")}


def _new_process(job: str, cache: str | None) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    if cache is not None:
        environment |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    ended = subprocess.run([sys.executable, "-c", STEP, job], env=environment, check=True, capture_output=True, text=True)
    return json.loads(ended.stdout.splitlines()[-1])
