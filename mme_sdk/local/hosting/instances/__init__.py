"""Production variants and their instances."""
