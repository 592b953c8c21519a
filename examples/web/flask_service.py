"""A Flask service in front of a multi-model endpoint, for gunicorn with preloaded code.

Run `gunicorn --preload --workers 4 --worker-class gthread --threads 8 flask_service:app`. The client is created once,
before gunicorn forks; each worker then has connections of its own.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, jsonify, request

from mme_sdk import MMEClient, Timeouts
from mme_sdk.errors import DeadlineError, ModelInputError, ModelNotFoundError, ThrottledError

client = MMEClient(timeouts=Timeouts(deadline=30))
endpoint = client.endpoint("scoring")
app = Flask(__name__)


@app.post("/<tenant>/score")
def score(tenant: str) -> Any:
    try:
        reply = endpoint.invoke(request.get_json(), model=f"{tenant}/v1.tar.gz")
    except ModelNotFoundError:
        return jsonify(error=f"there is no model of {tenant}"), 404
    except ModelInputError:
        return jsonify(error="the model does not accept these features"), 422
    except (DeadlineError, ThrottledError) as error:
        return jsonify(error="try again"), 503, {"Retry-After": str(int(error.retry_after or 5))}
    return jsonify(reply.value)
