"""Download and extraction of model archives."""
