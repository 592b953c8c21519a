"""The profile of the image that this container replaces."""

from __future__ import annotations

import os

from mme_sdk.artifacts.profiles import Profile, profile_of

__all__ = ["IMAGE", "current", "is_multi_model"]

IMAGE = "MME_IMAGE"  # environment variable with the name of the image


def is_multi_model() -> bool:
    """Return whether this container serves many models."""
    return os.environ.get("SAGEMAKER_MULTI_MODEL") == "true"


def current() -> Profile:
    """Return the profile of the image that this container replaces."""
    return profile_of(os.environ.get(IMAGE, ""))
