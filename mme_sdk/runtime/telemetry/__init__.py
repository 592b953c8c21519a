"""Telemetry: events of invocations, and hooks that export them."""
