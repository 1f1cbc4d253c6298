"""What :mod:`jmeta.metrics` offers beside metrics of single rows."""
