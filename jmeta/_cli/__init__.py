"""The command line: reading words, saying what happens, drawing. What is said and drawn of is ``jmeta._catalogue``."""
