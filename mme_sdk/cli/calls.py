"""`mme invoke`, `mme warm`, `mme batch` and `mme logs`: the models of an endpoint at work."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from mme_sdk.cli.common import Shell, command
from mme_sdk.cli.exit_codes import PARTLY

__all__ = ["add_to"]

_deadline = click.option(
    "--deadline", type=click.FloatRange(min=0, min_open=True), help="Seconds with all attempts. Default: 360."
)
_SUFFIXES = (".parquet", ".csv", ".jsonl")


def add_to(root: click.Group) -> None:
    """Add the commands.

    Args:
        root: The root of the commands.
    """
    for add in (_invoke, _warm, _batch, _logs):
        add(root)


def _invoke(root: click.Group) -> None:
    @command(root, "invoke")
    @click.option("--model", help="Target model, name@alias, or name. Needs --models for an alias.")
    @click.option("--models", "uri", envvar="MME_MODELS", help="S3 prefix of the models. Environment: MME_MODELS.")
    @click.option("--content-type", default="application/json", show_default=True, help="Media type of the payload.")
    @click.option("--accept", help="Media type of the answer. Default: the container's choice.")
    @_deadline
    @click.argument("endpoint")
    @click.argument("payload", type=click.File("rb"), default="-")
    def invoke(
        shell: Shell,
        model: str | None,
        uri: str | None,
        content_type: str,
        accept: str | None,
        deadline: float | None,
        endpoint: str,
        payload: Any,
    ) -> None:
        """Send PAYLOAD (a file; default: the standard input) to a model, and write the answer."""
        if uri is not None:
            shell.client.models(uri)
        reply = shell.client.endpoint(endpoint).invoke(
            payload.read(), model=model, content_type=content_type, accept=accept, deadline=deadline
        )
        if shell.out.as_json:
            value = reply.json() if "json" in reply.content_type else reply.text
            facts = {"model": reply.model, "variant": reply.variant, "cold": reply.cold, "latency": reply.latency}
            shell.out.result({"value": value, **facts, "content_type": reply.content_type}, "")
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(reply.body)
        if sys.stdout.isatty():
            sys.stdout.buffer.write(b"\n")


def _warm(root: click.Group) -> None:
    @command(root, "warm", exits=(PARTLY,))
    @click.option("--models", "uri", envvar="MME_MODELS", help="S3 prefix of the models. Environment: MME_MODELS.")
    @_deadline
    @click.argument("endpoint")
    @click.argument("models", nargs=-1, required=True)
    def warm(shell: Shell, uri: str | None, deadline: float | None, endpoint: str, models: tuple[str, ...]) -> int:
        """Load MODELS (target models or name@alias) into the memory of ENDPOINT."""
        if uri is not None:
            shell.client.models(uri)
        report = shell.client.endpoint(endpoint).warm(models, deadline=deadline, progress=shell.out.progress)
        rows = [
            {"model": one.model, "state": one.state, "seconds": round(one.took, 3), "error": one.error}
            for one in report.outcomes
        ]
        if not shell.out.as_json:
            rows = [{**row, "error": getattr(row["error"], "message", None)} for row in rows]
        shell.out.table(rows, "no models")
        return PARTLY if report.failed else 0


def _batch(root: click.Group) -> None:
    @command(root, "batch", exits=(PARTLY,))
    @click.option("--endpoint", required=True, help="EndpointName.")
    @click.option("--model", help="Model of all rows.")
    @click.option("--model-column", help="Column with the model of each row. It is not sent.")
    @click.option("--models", "uri", envvar="MME_MODELS", help="S3 prefix of the models. Environment: MME_MODELS.")
    @click.option("--rows-per-call", type=click.IntRange(min=1), default=256, show_default=True, help="Rows a request.")
    @click.option("--content-type", default="text/csv", show_default=True, help="Media type of the requests.")
    @click.option("--ledger", help="S3 address or directory that keeps the answers for the next run.")
    @_deadline
    @click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
    def batch(
        shell: Shell,
        endpoint: str,
        model: str | None,
        model_column: str | None,
        uri: str | None,
        rows_per_call: int,
        content_type: str,
        ledger: str | None,
        deadline: float | None,
        source: Path,
        target: Path,
    ) -> int:
        """Send the rows of SOURCE and write them with the answers to TARGET (.parquet, .csv or .jsonl).

        TARGET is replaced when all rows are done; Ctrl-C leaves it as it was. A row without an answer has an error.
        With --ledger, answers are kept: the next run sends only the rows that have none.
        """
        if model is not None and model_column is not None:
            raise click.UsageError("--model and --model-column exclude each other.")
        for path in (source, target):
            if path.suffix not in _SUFFIXES:
                raise click.UsageError(f"{path}: the name must end with {', '.join(_SUFFIXES)}.")
        if uri is not None:
            shell.client.models(uri)
        frame = _read(source)
        model_of: Any = model_column if model is None else (lambda _: model)
        answers = shell.client.endpoint(endpoint).invoke_frame(
            frame,
            model_of=model_of,
            rows_per_call=rows_per_call,
            content_type=content_type,
            deadline=deadline,
            checkpoint=ledger,
            progress=shell.out.progress,
        )
        failed = int(answers["error"].notna().sum())
        answers["error"] = [None if one is None else str(one) for one in answers["error"]]
        taken = [name for name in answers.columns if name in frame.columns]
        joined = frame.join(answers.rename(columns={name: f"answer_{name}" for name in taken}))
        _write(joined, target)
        facts = {"rows": len(frame), "failed": failed, "target": str(target)}
        shell.out.result(facts, f"{len(frame)} rows, {failed} failed, written to {target}")
        return PARTLY if failed else 0


def _read(path: Path) -> Any:
    from mme_sdk.errors import InvalidInputError, MissingExtraError

    try:
        import pandas as pd

        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_json(path, lines=True)
    except ImportError as error:
        raise MissingExtraError("batches need pandas and pyarrow", hint="pip install 'mme-sdk[pandas]'") from error
    except (ValueError, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as a table: {error}") from error


def _write(frame: Any, path: Path) -> None:
    from mme_sdk.errors import StorageError

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.suffix == ".parquet":
            frame.to_parquet(part)
        elif path.suffix == ".csv":
            frame.to_csv(part, index=False)
        else:
            frame.to_json(part, orient="records", lines=True)
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _logs(root: click.Group) -> None:
    @command(root, "logs")
    @click.option("--follow", "-f", is_flag=True, help="Continue with new lines until Ctrl-C.")
    @click.option("--lines", "-n", type=click.IntRange(1, 10000), default=100, show_default=True, help="Lines.")
    @click.option("--model", help="Only lines that contain this text, such as a target model.")
    @click.argument("endpoint")
    def logs(shell: Shell, follow: bool, lines: int, model: str | None, endpoint: str) -> None:
        """Write the end of the containers' log; with --json, one JSON object a line."""
        handle = shell.client.endpoint(endpoint)
        if follow:
            for line in handle.logs(model=model, lines=lines, follow=True):
                shell.out.item({"line": line}, line)
        else:
            for line in handle.logs(model=model, lines=lines):
                shell.out.item({"line": line}, line)
