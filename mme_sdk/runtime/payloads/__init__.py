"""Encode payloads, decode responses, and build requests."""
