"""Format of the file of `LoadTimes.save`. It is imported by `save` and `load` only: pydantic costs a first call."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["File", "Row"]


class Row(BaseModel):
    """The two distributions of one model of an endpoint."""

    model_config = ConfigDict(extra="ignore")
    endpoint: str = Field(min_length=1, max_length=63)
    model: str = Field(min_length=1, max_length=1024)
    curves: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=6, max_length=6)]


class File(BaseModel):
    """The state that one process has learned."""

    model_config = ConfigDict(extra="ignore")
    version: Annotated[int, Field(ge=1, le=1)] = 1
    models: list[Row]
