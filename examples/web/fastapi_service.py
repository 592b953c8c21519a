"""A FastAPI service in front of a multi-model endpoint: one client for each process, opened and closed by the lifespan.

Run `uvicorn fastapi_service:app --workers 4`. The environment variables of the embedded SageMaker
(`python -m mme_sdk.local`) or those of AWS select the account.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request

from mme_sdk import AsyncMMEClient, Timeouts
from mme_sdk.errors import DeadlineError, ModelInputError, ModelNotFoundError, ThrottledError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncMMEClient(timeouts=Timeouts(deadline=30)) as client:
        app.state.endpoint = client.endpoint("scoring")
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/{tenant}/score")
async def score(tenant: str, request: Request, features: Annotated[dict[str, Any], Body()]) -> Any:
    try:
        reply = await request.app.state.endpoint.invoke(features, model=f"{tenant}/v1.tar.gz")
    except ModelNotFoundError as error:
        raise HTTPException(404, f"there is no model of {tenant}") from error
    except ModelInputError as error:
        raise HTTPException(422, "the model does not accept these features") from error
    except (DeadlineError, ThrottledError) as error:
        raise HTTPException(503, "try again", headers={"Retry-After": str(int(error.retry_after or 5))}) from error
    return reply.value
