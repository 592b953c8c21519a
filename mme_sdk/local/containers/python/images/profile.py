"""Image profiles: what an image answers by default, and how it loads models."""

from __future__ import annotations

import fnmatch
import os
import tomllib
from functools import cache
from pathlib import Path

import attrs

__all__ = ["IMAGE", "Profile", "current", "is_multi_model", "profile_of"]

IMAGE = "MME_IMAGE"  # environment variable with the name of the image


@attrs.frozen(kw_only=True)
class Profile:
    """The behaviour of one kind of image.

    Attributes:
        name: Name of the profile.
        images: Patterns of image names; `*` matches any text.
        answers: Media type that the algorithm mode answers if the request accepts all types.
        answers_multi_model: The same on a multi-model endpoint; `answers` if empty.
        one_row_multi_model: Whether a flat array is one row on a multi-model endpoint.
        modules: Modules that the fork server imports before it forks a model.
        algorithm: `xgboost` if the image serves archives without a script by its algorithm mode; else empty.
    """

    name: str
    images: tuple[str, ...] = attrs.field(converter=tuple)
    answers: str = "application/json"
    answers_multi_model: str = ""
    one_row_multi_model: bool = False
    modules: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    algorithm: str = ""

    def algorithm_accept(self) -> str:
        """Return the media type that the algorithm mode answers if the request accepts all types."""
        return (self.answers_multi_model if is_multi_model() else "") or self.answers


def is_multi_model() -> bool:
    """Return whether this container serves many models."""
    return os.environ.get("SAGEMAKER_MULTI_MODEL") == "true"


def profile_of(image: str) -> Profile:
    """Return the profile of an image.

    Args:
        image: Image name as in CreateModel; empty if it is not known.

    Returns:
        The first profile with a pattern that matches.
    """
    return next(one for one in _profiles() if any(fnmatch.fnmatchcase(image, pattern) for pattern in one.images))


def current() -> Profile:
    """Return the profile of the image that this container replaces."""
    return profile_of(os.environ.get(IMAGE, ""))


@cache
def _profiles() -> tuple[Profile, ...]:
    known = tomllib.loads(Path(__file__).with_name("profiles.toml").read_text(encoding="utf-8"))
    return tuple(Profile(name=name, **fields) for name, fields in known.items())
