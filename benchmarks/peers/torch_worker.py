"""The side of the peers, run in their environment: ``python -m benchmarks.peers.torch_worker --threads N --device D``.

It reads one request a line and answers each with one line; between them it waits and computes nothing.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from typing import Any

import numpy as np
import torch

from benchmarks.peers import torch_libraries, torch_works, works

PACKAGES = ("torch", "higher", "torchopt", "torchjd", "numpy")


def versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return found | {"learn2learn": torch_libraries.learn2learn_version(), "python (peers)": platform.python_version()}


def wait(result: Any) -> None:
    """Waits for the accelerator; without one, everything is there already."""
    del result
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def answer(request: dict[str, Any], state: dict[str, Any], device: str) -> dict[str, Any]:
    """Does what a request asks; ``state`` holds the contenders of the work at hand and their timers."""
    if request["do"] == "versions":
        return versions()
    if request["do"] == "prepare":
        state.clear()
        with np.load(request["path"], allow_pickle=False) as arrays:
            state.update(work=request["work"], arrays=dict(arrays), timers={})
        contenders = state["contenders"] = torch_works.contenders(state["work"], state["arrays"], device)
        return {"names": list(contenders)}
    name = request["name"]
    if request["do"] == "gradient":
        # In float64, because in float32 a rounding may turn a maximum: PyTorch's own gradient then moves by 1e-3.
        wide = {key: value.astype(np.float64) if value.dtype == np.float32 else value for key, value in state["arrays"].items()}
        exact = torch_works.contenders(state["work"], wide, device)[name]
        np.savez(request["path"], *[tensor.detach().cpu().numpy() for tensor in exact.gradient()])
        return {}
    if request["do"] == "warm":
        state["timers"][name], fastest = works.timer(state["contenders"][name].step, wait, request["minimum"])
        return {"ms": fastest}
    return {"ms": state["timers"][name]()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True, help="of PyTorch")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True, help="where PyTorch computes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    # As jax: denormal numbers are zero on the CPU, and float32 is not cut to TF32.
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = False
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    state: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), state, options.device)
        except Exception as error:  # every failure is reported to the other side, which decides
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
