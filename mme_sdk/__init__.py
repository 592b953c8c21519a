"""mme_sdk."""
