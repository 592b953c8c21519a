"""Validators of the spec's fields; each refusal names the field and the rule.

The bounds are those of the service model that boto3 ships (`min`, `max`, `pattern`), which boto3 itself mostly does not
enforce: SageMaker would refuse them after the first resources are made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from mme_sdk.aws.service_model import problems
from mme_sdk.errors import InvalidInputError
from mme_sdk.types import S3Uri

__all__: list[str] = []

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
ROLE = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
_KMS = re.compile(r"[a-zA-Z0-9:/_-]{1,2048}")
_ENV_KEY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HTTPS = re.compile(
    r"https://(?:s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?/(?P<path>[^/?#]+)"
    r"|(?P<host>[a-z0-9][a-z0-9.-]*)\.s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?)(?:/(?P<key>[^?#]*))?"
)
# The last part of a key that names a file of another format than an archive; `model-1.0` names none.
_FILE = re.compile(r"[^/]+\.(?!gz$|tgz$)[A-Za-z][A-Za-z0-9]{0,9}")
_ENVIRONMENT = 32 * 1024
_TAG = re.compile(r"[\w \u00a0.:/=+\-@]*")

_MEDIA_TYPE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*/[a-zA-Z0-9](-*[a-zA-Z0-9.])*")
_ELSEWHERE = {
    "Tags": "use tags, config_tags of the spec and model_tags of a variant",
    "VariantName": "use the variant's `name`",
    "ModelName": "models are named by their content",
    "PrimaryContainer": "use the variant's `containers`",
    "Containers": "use the variant's `containers`",
    "ProductionVariants": "use the spec's `variants`",
}

Validator = Callable[[Any, Any, Any], None]


def unless_empty(value: Any) -> str:
    """A repr for fields that are mostly empty."""
    return repr(value) if value else "…"


def strings(value: Any) -> Any:
    """A copy with every value as text, as environments and tags want it; what is no mapping is for the validator."""
    if not isinstance(value, Mapping):
        return value
    return {key: item if isinstance(item, str) else str(item) for key, item in value.items()}


def copied(value: Any) -> Any:
    """A copy of a mapping; anything else as it is, for the validator to refuse."""
    return dict(value) if isinstance(value, Mapping) else value


def sequence(value: Any) -> tuple[Any, ...]:
    """A tuple; a lone string is one item, not its letters."""
    return (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)


def number(value: Any) -> Any:
    """Whole numbers as floats; anything else as it is, for the validator to refuse."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def optional(inner: Validator) -> Validator:
    """`inner`, unless the value is None."""

    def validate(instance: Any, attribute: Any, value: Any) -> None:
        if value is not None:
            inner(instance, attribute, value)

    return validate


def a(kind: type[Any]) -> Validator:
    """An instance of a class."""

    def validate(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, kind):
            raise InvalidInputError(f"{attribute.name}: wants {kind.__name__}(…), not {value!r}")

    return validate


def whole(low: int, high: int) -> Validator:
    """A whole number within bounds."""

    def validate(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidInputError(f"{attribute.name}: a whole number from {low} to {high}, not {value!r}")

    return validate


def one_of(*choices: Any) -> Validator:
    """One of a few values."""

    def validate(_: Any, attribute: Any, value: Any) -> None:
        if not any(type(value) is type(one) and value == one for one in choices):
            raise InvalidInputError(f"{attribute.name}: one of {', '.join(map(repr, choices))}, not {value!r}")

    return validate


def text(longest: int, pattern: str, rule: str) -> Validator:
    """Text of a shape."""
    shape = re.compile(pattern)

    def validate(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise InvalidInputError(f"{attribute.name}: must be {rule}, not {value!r}")
        if len(value) > longest:
            raise InvalidInputError(f"{attribute.name}: at most {longest} characters, not {len(value)}")

    return validate


def arn(service: str) -> Validator:
    """An ARN of a service."""
    return text(2048, rf"arn:aws[a-z\-]*:{service}:[a-z0-9\-]*:\d{{12}}:[a-zA-Z0-9_.\-]+", f"an {service} ARN")


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def positive(_: Any, attribute: Any, value: Any) -> None:
    """A number over zero."""
    over_zero(attribute.name, value)


def over_zero(field: str, value: Any) -> None:
    """Refuse what is no number over zero."""
    if not _finite(value) or value <= 0:
        raise InvalidInputError(f"{field}: a number over 0, not {value!r}")


def not_negative(_: Any, attribute: Any, value: Any) -> None:
    """A number, zero or more."""
    if not _finite(value) or value < 0:
        raise InvalidInputError(f"{attribute.name}: a number of 0 or more, not {value!r}")


def mapping(_: Any, attribute: Any, value: Any) -> None:
    """Members by name, as the API names them."""
    members(attribute.name, value)


def media_types(_: Any, attribute: Any, value: tuple[Any, ...]) -> None:
    """Media types, such as `text/csv`."""
    for one in value:
        if not isinstance(one, str):
            raise InvalidInputError(f"{attribute.name}: wants texts, not {one!r}")
        if not _MEDIA_TYPE.fullmatch(one) or len(one) > 256:
            raise InvalidInputError(f"{attribute.name}: {one!r} is no media type; they look like 'text/csv'")
    if len(value) > 10:
        raise InvalidInputError(f"{attribute.name}: at most 10 media types, not {len(value)}")


def several(most: int, *choices: str) -> Validator:
    """A few of some values, each once."""

    def validate(_: Any, attribute: Any, value: tuple[Any, ...]) -> None:
        for one in value:
            if one not in choices:
                raise InvalidInputError(f"{attribute.name}: one of {', '.join(choices)}, not {one!r}")
        if len(value) > most or len(set(value)) != len(value):
            raise InvalidInputError(f"{attribute.name}: each value once, not {', '.join(value)}")

    return validate


def service(
    field: str, shape: str, value: Mapping[str, Any], *, partial: bool = True, newer: frozenset[str] = frozenset()
) -> None:
    """Refuse members that SageMaker's service model, as botocore ships it, does not allow."""
    if value:
        found = next(problems(shape, value, field, partial=partial, newer=newer), None)
        if found is not None:
            newer_needed = "botocore knows" in found or "is not one of" in found
            raise InvalidInputError(
                found, hint="newer members and values need a newer botocore" if newer_needed else None
            )


def instance_type(value: str) -> None:
    """Refuse an instance type that the installed botocore does not know."""
    if next(problems("ProductionVariant", {"InstanceType": value}, "instance_type"), None) is not None:
        raise InvalidInputError(
            f"instance_type: {value!r} is not one of the hosting types that the installed botocore knows",
            hint="upgrade botocore, or give a newer type as extra={'InstanceType': …} of the variant",
        )


def not_in(field: str, value: Mapping[str, Any], *names: str) -> None:
    """Refuse members that are said elsewhere."""
    for name in names:
        if name in value:
            raise InvalidInputError(f"{field}: {name} is not for it to say", hint=_ELSEWHERE.get(name))


def members(field: str, value: Any) -> None:
    """Refuse what is no mapping of names, at any depth; the value itself is not shown."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{field}: wants a mapping, not {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise InvalidInputError(f"{field}: {key!r} is no name")
        for item in value[key] if isinstance(value[key], (list, tuple)) else (value[key],):
            if isinstance(item, Mapping):
                members(f"{field}.{key}", item)


def environments(several: Sequence[Mapping[str, str]]) -> None:
    """Refuse environments of one model that are too large together."""
    size = sum(len(text.encode()) for one in several for item in one.items() for text in item)
    if size > _ENVIRONMENT:
        raise InvalidInputError(
            f"environment: {size} bytes of names and values in all containers of a model; at most {_ENVIRONMENT}"
        )


def timeout(value: Any) -> None:
    """Refuse what is no time to wait."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InvalidInputError(f"timeout: seconds over 0, not {value!r}")


def address(field: str, where: Any) -> str:
    """An address, or that of something that has one."""
    found = where if isinstance(where, str) else getattr(where, "uri", None)
    if not isinstance(found, str):
        raise InvalidInputError(f"{field}: wants an S3 address, or something that has one, not {where!r}")
    in_s3(field, found, 1024)
    return found


def resource_name(_: Any, attribute: Any, value: Any) -> None:
    """A SageMaker resource name."""
    named(attribute.name, value)


def named(field: str, value: Any) -> None:
    """Refuse what SageMaker takes for no name."""
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{field}: must be a name, not {value!r}")
    if len(value) > 63:
        raise InvalidInputError(f"{field}: at most 63 characters, not {len(value)} ({value!r})")
    if not NAME.fullmatch(value):
        raise InvalidInputError(
            f"{field}: {value!r} may only have letters, digits and '-', and must begin and end with a letter or digit"
        )


def role(_: Any, attribute: Any, value: Any) -> None:
    """An IAM role's ARN."""
    if not isinstance(value, str) or not ROLE.fullmatch(value) or len(value) > 2048:
        raise InvalidInputError(
            f"{attribute.name}: {value!r} is no IAM role ARN",
            hint="arn:aws:iam::123456789012:role/NAME; `aws iam get-role --role-name NAME` tells it",
        )


def kms(_: Any, attribute: Any, value: Any) -> None:
    """A KMS key id, alias or ARN."""
    if not isinstance(value, str) or not _KMS.fullmatch(value):
        raise InvalidInputError(f"{attribute.name}: {value!r} is no KMS key id, alias or ARN")


def ids(least: int, most: int, prefix: str) -> Validator:
    """A few ids of VPC things."""

    def validate(_: Any, attribute: Any, value: tuple[Any, ...]) -> None:
        if not least <= len(value) <= most:
            raise InvalidInputError(f"{attribute.name}: {least} to {most} ids, not {len(value)}")
        for one in value:
            if not isinstance(one, str) or not re.fullmatch(r"[-0-9a-zA-Z]{1,32}", one):
                raise InvalidInputError(f"{attribute.name}: {one!r} is no id; they look like '{prefix}-0123abcd'")

    return validate


def environment(_: Any, attribute: Any, value: Mapping[str, str]) -> None:
    """A container's environment variables; the refusals do not show the values."""
    members(attribute.name, value)
    if len(value) > 100:
        raise InvalidInputError(f"{attribute.name}: at most 100 variables, not {len(value)}")
    for key, item in value.items():
        if not isinstance(key, str) or not _ENV_KEY.fullmatch(key) or len(key) > 1024:
            raise InvalidInputError(f"{attribute.name}: {key!r} is no variable name (letters, digits and '_')")
        if len(item) > 1024:
            raise InvalidInputError(f"{attribute.name}: the value of {key} has {len(item)} characters; at most 1024")
    environments([value])


def tags(_: Any, attribute: Any, value: Mapping[str, str]) -> None:
    """Resource tags."""
    members(attribute.name, value)
    if len(value) > 50:
        raise InvalidInputError(f"{attribute.name}: at most 50 tags, not {len(value)}")
    for key, item in value.items():
        if not isinstance(key, str) or not 1 <= len(key) <= 128 or not _TAG.fullmatch(key):
            raise InvalidInputError(f"{attribute.name}: {key!r} is no tag key (1 to 128 letters, digits, '_.:/=+-@')")
        if key.lower().startswith("aws:"):
            raise InvalidInputError(f"{attribute.name}: {key!r} begins with 'aws:', which is reserved")
        if key.startswith("mme_sdk:"):
            raise InvalidInputError(f"{attribute.name}: {key!r} begins with 'mme_sdk:', which this SDK uses itself")
        if len(item) > 256 or not _TAG.fullmatch(item):
            raise InvalidInputError(
                f"{attribute.name}: {item!r} is no tag value (0 to 256 letters, digits, '_.:/=+-@')"
            )


def is_bool(field: str, value: Any) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{field}: True or False, not {value!r}")


def s3(field: str, value: Any, longest: int) -> S3Uri:
    """Parse an S3 address, naming the field where it is none."""
    try:
        uri = S3Uri.parse(value)
    except InvalidInputError as error:
        raise InvalidInputError(f"{field}: {error.message}", hint=error.hint) from None
    if len(value) > longest:
        raise InvalidInputError(f"{field}: at most {longest} characters, not {len(value)}")
    return uri


def in_s3(field: str, value: Any, longest: int) -> S3Uri:
    """Parse an address in S3, in the form `s3://` or `https://`."""
    found = _HTTPS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        if isinstance(value, str) and value.startswith("https://"):
            raise InvalidInputError(
                f"{field}: {value!r} is not an S3 address", hint="https://s3.REGION.amazonaws.com/BUCKET/KEY, or s3://…"
            )
        return s3(field, value, longest)
    if len(value) > longest:
        raise InvalidInputError(f"{field}: at most {longest} characters, not {len(value)}")
    return s3(field, f"s3://{found['path'] or found['host']}/{found['key'] or ''}", longest + 100)


def s3_form(value: str) -> str | None:
    """An address in S3 in the form `s3://`; None where it is not in S3."""
    try:
        return str(in_s3("model_data", value, 1024))
    except InvalidInputError:
        return None


def model_data(value: Any) -> None:
    """The address of a model's data."""
    in_s3("model_data", value, 1024)


def no_file(field: str, value: str) -> None:
    """Refuse an address that names one file where a prefix is wanted."""
    if _FILE.fullmatch(in_s3(field, value, 1024).key.rpartition("/")[2]):
        raise InvalidInputError(
            f"{field}: {value!r} is one file; a multi-model container takes a prefix",
            hint="end the prefix with '/' where its last part does have a dot",
        )


def archive(field: str, value: str) -> None:
    """Refuse an address that is not one archive's."""
    key = in_s3(field, value, 1024).key
    if not key:
        raise InvalidInputError(
            f"{field}: {value!r} names a bucket and no archive in it", hint="s3://BUCKET/KEY.tar.gz"
        )
    if value.endswith("/"):
        raise InvalidInputError(
            f"{field}: {value!r} is a prefix; a single-model container takes one archive",
            hint="use EndpointSpec.multi_model(models=…) to serve every archive under a prefix",
        )
    if _FILE.fullmatch(key.rpartition("/")[2]):
        raise InvalidInputError(
            f"{field}: {value!r} is not a .tar.gz archive, the only format that SageMaker extracts",
            hint="pack the files with mme_sdk.artifacts, or with tar -czf",
        )


def each(field: str, values: Iterable[Any], kind: type[Any]) -> None:
    """Refuse items of another class."""
    for one in values:
        if not isinstance(one, kind):
            raise InvalidInputError(f"{field}: wants {kind.__name__}(…), not {one!r}")


def unique(field: str, names: Collection[str]) -> None:
    """Refuse a name that comes twice."""
    if len(set(names)) != len(names):
        raise InvalidInputError(f"{field}: names must differ, not {', '.join(names)}")
