"""A FastAPI service that a page in a browser calls. The token of the user selects the model.

Run `uvicorn browser_service:app`. Replace `TENANTS` by your own check of tokens.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Header, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi_service import lifespan
from fastapi_service import score as score_tenant

TENANTS = {"token-of-shop": "shop"}

app = FastAPI(lifespan=lifespan)
app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://shop.example.com"],
    allow_methods=["POST"],
    allow_headers=["Authorization", "Content-Type"],
    expose_headers=["Retry-After"],
)


def tenant(authorization: Annotated[str, Header()] = "") -> str:
    found = TENANTS.get(authorization.removeprefix("Bearer "))
    if found is None:
        raise HTTPException(401, "this token is not valid")
    return found


@app.post("/score")
async def score(
    request: Request, features: Annotated[dict[str, Any], Body()], of: Annotated[str, Depends(tenant)]
) -> Any:
    return await score_tenant(of, request, features)
