"""Retries: classification of answers, backoff and budgets."""
