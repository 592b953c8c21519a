"""The default container: Python models, one process each, forked from one that has the libraries imported."""
