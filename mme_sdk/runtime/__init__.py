"""Invoke: payloads, waits, retries, one deadline; and the lanes that carry a request."""
