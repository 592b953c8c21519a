"""The checks, by the endpoint that they need."""
