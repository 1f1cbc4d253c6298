"""Learners that compare with examples."""
