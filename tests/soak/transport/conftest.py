"""Fixtures of these tests."""

from tests.support.transport.fixtures import authority, clean_environment, driver, kind, server, tls_server

__all__ = ["authority", "clean_environment", "driver", "kind", "server", "tls_server"]
