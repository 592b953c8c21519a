"""The wire protocols of AWS on the server side, driven by botocore's service models."""
