"""What :mod:`jmeta.plotting` offers beside figures of training and of adapting."""
