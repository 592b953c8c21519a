"""The Python container: one process per model, forked from a process that has imported the libraries."""
