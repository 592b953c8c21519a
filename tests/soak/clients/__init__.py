"""Smoke tests with unmodified AWS clients, each in an environment of its own: `make clients`."""
