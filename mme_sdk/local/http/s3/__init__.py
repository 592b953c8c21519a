"""The S3 listener of the host: a proxy in front of SeaweedFS for what SeaweedFS does not have."""
