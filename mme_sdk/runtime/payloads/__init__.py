"""Payloads: Python values to request bodies and back."""
