"""Endpoint specs: what an endpoint should be, checked when it is made."""
