"""The command line: options, runs in directories, and what is said of them."""
