"""Requests of S3 that botocore does not make, or makes slowly."""
