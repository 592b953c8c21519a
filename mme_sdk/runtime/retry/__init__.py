"""Retries: what an answer means, and whether and when to try again."""
