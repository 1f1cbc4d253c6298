"""Benchmarks of knowledge transfer, each a command: ``python -m benchmarks.transfer.NAME``."""
