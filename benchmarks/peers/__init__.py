"""Speed next to other libraries on the same work: ``python -m benchmarks.peers [--works A,B] [--rounds N]``.

The command makes a virtual environment with PyTorch, higher, TorchOpt, TorchJD and learn2learn, and starts one worker in it per
number of threads. Both sides get the same arrays; nothing is timed before the gradients agree. Then ours and a peer's are timed in
turn, one process idle while the other computes, and a row holds the median of the ratios of the rounds.
"""

from benchmarks.peers.rows import read_rows as read_rows
