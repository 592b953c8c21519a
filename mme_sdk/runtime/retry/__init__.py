"""Retries: classification of answers, backoff, budgets and hedging."""
