"""Validators and converters for fields that mirror AWS fields; each error names the field and the rule.

The bounds are those of the service model that botocore ships (`min`, `max`, `pattern`). botocore does not enforce most
of them, and SageMaker does so only after the first resources exist. Validators without a rule of AWS are in
`mme_sdk._validation`.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mme_sdk import instance_types
from mme_sdk._validation import Validator, check_instance, check_resource_name
from mme_sdk.aws.service_model import problems
from mme_sdk.errors import InvalidInputError
from mme_sdk.types import S3Uri
from mme_sdk.types.near import near_names

__all__: list[str] = []

_ROLE = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
_KMS = re.compile(r"[a-zA-Z0-9:/_-]{1,2048}")
_ENV_KEY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HTTPS = re.compile(
    r"https://(?:s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?/(?P<path>[^/?#]+)"
    r"|(?P<host>[a-z0-9][a-z0-9.-]*)\.s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?)(?:/(?P<key>[^?#]*))?"
)
# Last part of a key that names a file of another format than .tar.gz. `model-1.0` is not such a name.
_FILE = re.compile(r"[^/]+\.(?!gz$|tgz$)[A-Za-z][A-Za-z0-9]{0,9}")
_MAX_ENVIRONMENT = 32 * 1024  # bytes
_TAG = re.compile(r"[\w \u00a0.:/=+\-@]*")

_MEDIA_TYPE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*/[a-zA-Z0-9](-*[a-zA-Z0-9.])*")
_USE_INSTEAD = {
    "Tags": "use tags and config_tags of the spec, and model_tags of a variant",
    "VariantName": "use the variant's `name`",
    "ModelName": "the names of models are derived from their content",
    "PrimaryContainer": "use the variant's `containers`",
    "Containers": "use the variant's `containers`",
    "ProductionVariants": "use the spec's `variants`",
    "DeploymentConfig": "the spec's `deployment` sets it",
}


def unless_empty(value: Any) -> str:
    """Return the repr of a value; `…` if it is empty."""
    return repr(value) if value else "…"


def strings(value: Any) -> Any:
    """Return a copy of a mapping with all values as text. Another type is returned unchanged, for the validator."""
    if not isinstance(value, Mapping):
        return value
    return {key: item if isinstance(item, str) else str(item) for key, item in value.items()}


def copied(value: Any) -> Any:
    """Return a copy of a mapping. Another type is returned unchanged, for the validator."""
    return dict(value) if isinstance(value, Mapping) else value


def sequence(value: Any) -> tuple[Any, ...]:
    """Return a tuple of the items. A string is one item."""
    return (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)


def text(longest: int, pattern: str, rule: str) -> Validator:
    """Return a validator for text that matches a pattern; `rule` describes the pattern in the error."""
    shape = re.compile(pattern)

    def validate(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise InvalidInputError(f"{attribute.name}: must be {rule}, not {value!r}")
        if len(value) > longest:
            raise InvalidInputError(f"{attribute.name}: at most {longest} characters, not {len(value)}")

    return validate


def arn(service: str) -> Validator:
    """Return a validator for ARNs of a service."""
    return text(2048, rf"arn:aws[a-z\-]*:{service}:[a-z0-9\-]*:\d{{12}}:[a-zA-Z0-9_.\-]+", f"an {service} ARN")


_FUNCTION = re.compile(r"arn:aws[a-z\-]*:lambda:[a-z0-9\-]+:\d{12}:function:[a-zA-Z0-9_.\-]+(?::[a-zA-Z0-9_$\-]+)?")


def function_arn(_: Any, attribute: Any, value: Any) -> None:
    """Check the ARN of a Lambda function."""
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise InvalidInputError(f"{attribute.name}: must be the ARN of a Lambda function, not {value!r}")


def member(shape: str, name: str) -> Validator:
    """Return a validator for the value of a member of SageMaker's service model in the installed botocore."""

    def validate(_: Any, attribute: Any, value: Any) -> None:
        found = next(problems(shape, {name: value}, ""), None)
        if found is not None:
            newer = "is not one of" in found
            raise InvalidInputError(
                attribute.name + found.removeprefix(f".{name}"),
                hint="newer values need a newer botocore" if newer else None,
            )

    return validate


def hosting_type(value: Any) -> None:
    """Raise InvalidInputError for text that is not an instance type for hosting."""
    if not isinstance(value, str) or not instance_types.INSTANCE_TYPE.fullmatch(value):
        raise InvalidInputError(
            f"instance_type: {value!r} is not an instance type for hosting; these look like 'ml.m5.xlarge'"
        )


def mapping(_: Any, attribute: Any, value: Any) -> None:
    """Check that a field maps names to values, at any depth."""
    members(attribute.name, value)


def media_types(_: Any, attribute: Any, value: tuple[Any, ...]) -> None:
    """Check that a field holds at most 10 media types."""
    for one in value:
        if not isinstance(one, str):
            raise InvalidInputError(f"{attribute.name}: media types must be text, not {one!r}")
        if not _MEDIA_TYPE.fullmatch(one) or len(one) > 256:
            raise InvalidInputError(f"{attribute.name}: {one!r} is not a media type; media types look like 'text/csv'")
    if len(value) > 10:
        raise InvalidInputError(f"{attribute.name}: at most 10 media types, not {len(value)}")


def several(most: int, *choices: str) -> Validator:
    """Return a validator for at most `most` of some values, each at most once."""

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
    """Raise InvalidInputError for members that botocore's service model of SageMaker does not allow."""
    if value:
        found = next(problems(shape, value, field, partial=partial, newer=newer), None)
        if found is not None:
            newer_needed = "botocore knows" in found or "is not one of" in found
            raise InvalidInputError(
                found, hint="newer members and values need a newer botocore" if newer_needed else None
            )


def instance_type(value: str) -> None:
    """Raise InvalidInputError for an instance type that the installed botocore does not know."""
    if next(problems("ProductionVariant", {"InstanceType": value}, "instance_type"), None) is not None:
        hosting = [name for name, kind in instance_types.known().items() if kind.hosting]
        near = near_names(str(value), hosting, limit=1)
        advice = "upgrade botocore, or give a newer type as extra={'InstanceType': …} of the variant"
        raise InvalidInputError(
            f"instance_type: {value!r} is not one of the hosting types that the installed botocore knows",
            hint=f"did you mean {near[0]}? Otherwise {advice}" if near else advice,
        )


def not_in(field: str, value: Mapping[str, Any], *names: str) -> None:
    """Raise InvalidInputError for members that another field sets."""
    for name in names:
        if name in value:
            raise InvalidInputError(f"{field}: {name} cannot be set here", hint=_USE_INSTEAD.get(name))


def members(field: str, value: Any) -> None:
    """Raise InvalidInputError unless a value maps names to values, at any depth. The error does not show the value."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{field} must be a mapping, not {type(value).__name__}")
    for key in value:
        if not isinstance(key, str):
            raise InvalidInputError(f"{field}: keys must be text, not {key!r}")
        for item in value[key] if isinstance(value[key], (list, tuple)) else (value[key],):
            if isinstance(item, Mapping):
                members(f"{field}.{key}", item)


def environments(several: Sequence[Mapping[str, str]]) -> None:
    """Raise InvalidInputError if the environments of one model's containers are too large together."""
    size = sum(len(text.encode()) for one in several for item in one.items() for text in item)
    if size > _MAX_ENVIRONMENT:
        raise InvalidInputError(
            f"environment: {size} bytes of names and values in all containers of a model; at most {_MAX_ENVIRONMENT}"
        )


def address(field: str, where: Any) -> str:
    """Return an S3 address, or the `uri` of an object that has one."""
    found = where if isinstance(where, str) else getattr(where, "uri", None)
    if not isinstance(found, str):
        raise InvalidInputError(f"{field} must be an S3 address or an object with a `uri`, not {where!r}")
    in_s3(field, found, 1024)
    return found


def resource_name(_: Any, attribute: Any, value: Any) -> None:
    """Check a SageMaker resource name."""
    check_resource_name(attribute.name, value)


def role(_: Any, attribute: Any, value: Any) -> None:
    """Check the ARN of an IAM role."""
    if not isinstance(value, str) or not _ROLE.fullmatch(value) or len(value) > 2048:
        raise InvalidInputError(
            f"{attribute.name} must be the ARN of an IAM role, not {value!r}",
            hint="it looks like arn:aws:iam::123456789012:role/NAME; `aws iam get-role --role-name NAME` prints it",
        )


def kms(_: Any, attribute: Any, value: Any) -> None:
    """Check a KMS key id, alias or ARN."""
    if not isinstance(value, str) or not _KMS.fullmatch(value):
        raise InvalidInputError(f"{attribute.name} must be a KMS key id, alias or ARN, not {value!r}")


def ids(least: int, most: int, prefix: str) -> Validator:
    """Return a validator for ids of VPC resources."""

    def validate(_: Any, attribute: Any, value: tuple[Any, ...]) -> None:
        if not least <= len(value) <= most:
            raise InvalidInputError(f"{attribute.name}: {least} to {most} ids, not {len(value)}")
        for one in value:
            if not isinstance(one, str) or not re.fullmatch(r"[-0-9a-zA-Z]{1,32}", one):
                raise InvalidInputError(f"{attribute.name}: {one!r} is not an id; ids look like '{prefix}-0123abcd'")

    return validate


def environment(_: Any, attribute: Any, value: Mapping[str, str]) -> None:
    """Check a container's environment variables. The errors do not show the values."""
    members(attribute.name, value)
    if len(value) > 100:
        raise InvalidInputError(f"{attribute.name}: at most 100 variables, not {len(value)}")
    for key, item in value.items():
        if not isinstance(key, str) or not _ENV_KEY.fullmatch(key) or len(key) > 1024:
            raise InvalidInputError(f"{attribute.name}: {key!r} is not a variable name (letters, digits and '_')")
        if len(item) > 1024:
            raise InvalidInputError(f"{attribute.name}: the value of {key} has {len(item)} characters; at most 1024")
    environments([value])


def tags(_: Any, attribute: Any, value: Mapping[str, str]) -> None:
    """Check resource tags."""
    members(attribute.name, value)
    if len(value) > 50:
        raise InvalidInputError(f"{attribute.name}: at most 50 tags, not {len(value)}")
    for key, item in value.items():
        if not isinstance(key, str) or not 1 <= len(key) <= 128 or not _TAG.fullmatch(key):
            raise InvalidInputError(
                f"{attribute.name}: {key!r} is not a tag key (1 to 128 letters, digits, '_.:/=+-@')"
            )
        if key.lower().startswith("aws:"):
            raise InvalidInputError(f"{attribute.name}: {key!r} begins with 'aws:', which is reserved")
        if key.startswith("mme_sdk:"):
            raise InvalidInputError(f"{attribute.name}: {key!r} begins with 'mme_sdk:', which is reserved for this SDK")
        if len(item) > 256 or not _TAG.fullmatch(item):
            raise InvalidInputError(
                f"{attribute.name}: {item!r} is not a tag value (0 to 256 letters, digits, '_.:/=+-@')"
            )


def s3(field: str, value: Any, longest: int) -> S3Uri:
    """Parse an S3 address; the error names the field."""
    try:
        uri = S3Uri.parse(value)
    except InvalidInputError as error:
        raise InvalidInputError(f"{field}: {error.message}", hint=error.hint) from None
    if len(value) > longest:
        raise InvalidInputError(f"{field}: at most {longest} characters, not {len(value)}")
    return uri


def in_s3(field: str, value: Any, longest: int) -> S3Uri:
    """Parse an S3 address that begins with `s3://` or `https://`."""
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
    """Return an S3 address in the form `s3://…`; None if it is not one."""
    try:
        return str(in_s3("model_data", value, 1024))
    except InvalidInputError:
        return None


def model_data(value: Any) -> None:
    """Check the S3 address of model data."""
    in_s3("model_data", value, 1024)


def no_file(field: str, value: str) -> None:
    """Raise InvalidInputError for an address of a single file; a prefix is needed."""
    if _FILE.fullmatch(in_s3(field, value, 1024).key.rpartition("/")[2]):
        raise InvalidInputError(
            f"{field}: {value!r} names a file; a multi-model container needs a prefix",
            hint="if it is a prefix whose last part has a dot, end it with '/'",
        )


def archive(field: str, value: str) -> None:
    """Raise InvalidInputError unless an address can be that of a single archive."""
    key = in_s3(field, value, 1024).key
    if not key:
        raise InvalidInputError(f"{field}: {value!r} names a bucket without an archive", hint="s3://BUCKET/KEY.tar.gz")
    if value.endswith("/"):
        raise InvalidInputError(
            f"{field}: {value!r} is a prefix; a single-model container needs one archive",
            hint="use EndpointSpec.multi_model(models=…) to serve every archive under a prefix, or compressed=False to "
            "serve the files under it as one model",
        )
    if _FILE.fullmatch(key.rpartition("/")[2]):
        raise InvalidInputError(
            f"{field}: {value!r} is not a .tar.gz archive, the only format that SageMaker extracts",
            hint="pack the files with mme_sdk.artifacts, or with tar -czf",
        )


def uncompressed(field: str, value: str) -> None:
    """Raise InvalidInputError unless an address can be that of an uncompressed model."""
    key = in_s3(field, value, 1024).key
    if not key and not value.endswith("/"):
        raise InvalidInputError(
            f"{field}: {value!r} names a bucket without a prefix or an object", hint="end a prefix with '/'"
        )
    if key.endswith((".tar.gz", ".tgz")):
        raise InvalidInputError(
            f"{field}: {value!r} is an archive, which the container would get without extraction",
            hint="leave compressed=False out",
        )


def data_source(field: str, source: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for an S3DataSource whose members do not fit each other."""
    address, prefix = str(source.get("S3Uri")), source.get("S3DataType") == "S3Prefix"
    if prefix and source.get("CompressionType") != "None":
        raise InvalidInputError(f"{field}: CompressionType must be None if S3DataType is S3Prefix")
    if prefix != address.endswith("/"):
        rule = "a prefix ends with '/'" if prefix else "an object does not end with '/'"
        raise InvalidInputError(f"{field}: S3Uri {address!r} does not fit {source.get('S3DataType')}: {rule}")


def each(field: str, values: Iterable[Any], kind: type[Any]) -> None:
    """Raise InvalidInputError for items of another class."""
    for one in values:
        check_instance(f"an item of {field}", one, kind)


def unique(field: str, names: Collection[str]) -> None:
    """Raise InvalidInputError if a name occurs twice."""
    if len(set(names)) != len(names):
        raise InvalidInputError(f"{field}: names must differ, not {', '.join(names)}")


def as_float(value: Any) -> Any:
    """Return a number as a float. Another type is returned unchanged, for the validator."""
    try:
        return float(value) if type(value) is not bool and isinstance(value, numbers.Real) else value
    except OverflowError:
        return value
