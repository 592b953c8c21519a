"""Metric math of CloudWatch."""
