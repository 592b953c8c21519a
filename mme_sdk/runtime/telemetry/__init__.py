"""Telemetry: records of what an invoker does, and exporters for them."""
