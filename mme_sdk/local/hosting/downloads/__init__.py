"""Model archives: downloaded from S3 and unpacked."""
