"""Learners that adapt by optimisation."""
