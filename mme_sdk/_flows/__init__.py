"""Flows: generators of effects, their interpreters, cancellation, and worker threads."""
