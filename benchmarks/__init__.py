"""Measurements whose results the README shows; each module runs with ``python -m``."""
