"""Image profiles: what the images of AWS load, accept and answer. The table is `profiles.toml`.

The registry refuses what an image would not load. The Python container of the embedded SageMaker behaves as the image.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Collection, Sequence
from functools import cache
from importlib import resources
from typing import Any

import attrs

__all__ = ["Profile", "known", "profile_named", "profile_of"]


def _alternatives(value: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(one) for one in value)


def _field(default: Sequence[str] = ()) -> Any:
    return attrs.field(default=tuple(default), converter=tuple)


@attrs.frozen(kw_only=True)
class Profile:
    """The behaviour of one kind of image.

    Attributes:
        name: Name of the profile.
        title: Name of the image in messages.
        images: Patterns of the last part of image names, without tag and digest; `*` matches any text.
        loads: Regular expressions of the paths that the image loads. The first one with a match counts.
        loads_multi_model: The same on a multi-model endpoint; `loads` if empty.
        several: Whether the image loads several files that match.
        expected: The files of a good archive, for messages.
        script: Whether the image runs `code/inference.py` of the archive.
        script_multi_model: The same on a multi-model endpoint.
        functions: Alternatives of the functions that a script must define. A script is required if `loads` is empty.
        loader: The function of a script that replaces the loading of `loads`; empty if none does.
        accepts: Content types that the image's own functions accept; empty for all that the container knows.
        answers: Media types that the image's own functions answer; empty for all that the container knows.
        answer: Media type of the answer if the request accepts all types.
        answer_multi_model: The same on a multi-model endpoint; `answer` if empty.
        lenient: Whether the Python container serves more than the image: other files, other types, no script.
        one_row_multi_model: Whether a flat array is one row on a multi-model endpoint.
        pairs: Whether a function can return a pair of body and media type; elsewhere a pair becomes JSON.
        error_status: HTTP status of an exception in a function of a script.
        defaults: Name of the image's own functions in the Python container; empty for the common ones.
        modules: Modules that the fork server imports before it forks a model.
        libraries: Libraries of AWS that scripts can import.
    """

    name: str
    title: str
    images: tuple[str, ...] = _field()
    loads: tuple[str, ...] = _field()
    loads_multi_model: tuple[str, ...] = _field()
    several: bool = False
    expected: tuple[str, ...] = _field()
    script: bool = True
    script_multi_model: bool = True
    functions: tuple[tuple[str, ...], ...] = attrs.field(default=(), converter=_alternatives)
    loader: str = ""
    accepts: tuple[str, ...] = _field()
    answers: tuple[str, ...] = _field()
    answer: str = "application/json"
    answer_multi_model: str = ""
    lenient: bool = False
    one_row_multi_model: bool = False
    pairs: bool = True
    error_status: int = 500
    defaults: str = ""
    modules: tuple[str, ...] = _field()
    libraries: tuple[str, ...] = _field()

    def runs_script(self, *, multi_model: bool) -> bool:
        """Return whether the image runs a script of the archive."""
        return self.script and (self.script_multi_model or not multi_model)

    def lacks(self, names: Collection[str]) -> str:
        """Return which functions a script must define, such as `model_fn`; empty if `names` has one alternative."""
        if not self.functions or any(set(one) <= set(names) for one in self.functions):
            return ""
        return " or ".join(" and ".join(one) for one in self.functions)

    def files(self, paths: Sequence[str], *, multi_model: bool) -> list[str]:
        """Return the files that the image loads without a script.

        Args:
            paths: Paths of an archive.
            multi_model: Whether the endpoint serves many models.

        Returns:
            The paths that match the first pattern with a match, in order.
        """
        for pattern in (self.loads_multi_model if multi_model else ()) or self.loads:
            found = sorted(path for path in paths if re.fullmatch(pattern, path))
            if found:
                return found
        return []

    def default_answer(self, *, multi_model: bool) -> str:
        """Return the media type of the answer if the request accepts all types."""
        return (self.answer_multi_model if multi_model else "") or self.answer


def profile_of(image: str) -> Profile:
    """Return the profile of an image.

    Args:
        image: Image name as in CreateModel; empty if it is not known.

    Returns:
        The first profile with a pattern that matches; `any` without one.

    Example:
        >>> profile_of("123.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3").name
        'sklearn'
    """
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return next(one for one in known() if any(fnmatch.fnmatchcase(name, pattern) for pattern in one.images))


def profile_named(name: str) -> Profile:
    """Return the profile with a name, such as `sklearn`."""
    return next(one for one in known() if one.name == name)


@cache
def known() -> tuple[Profile, ...]:
    """Return all profiles, in order."""
    table = tomllib.loads(resources.files("mme_sdk.artifacts").joinpath("profiles.toml").read_text(encoding="utf-8"))
    return tuple(Profile(name=name, **fields) for name, fields in table.items())
