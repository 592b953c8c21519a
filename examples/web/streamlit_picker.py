"""A Streamlit page: choose a model, send a payload, see the answer. Run `streamlit run streamlit_picker.py`."""

from __future__ import annotations

import json
import os

import streamlit as st

from mme_sdk import MMEClient
from mme_sdk.errors import MMEError

ENDPOINT = os.environ.get("ENDPOINT", "scoring")
MODELS = os.environ.get("MME_MODELS", "s3://ml-models/prod/")


@st.cache_resource
def client() -> MMEClient:
    return MMEClient()


def names() -> list[str]:
    models = client().models(MODELS)
    return [alias.reference for alias in models.aliases()] + [version.target_model for version in models.list()]


st.title("Models of " + ENDPOINT)
model = st.selectbox("Model", names())
payload = st.text_area("Payload (JSON)", '{"amount": 12.5}')
if st.button("Send") and model:
    try:
        reply = client().endpoint(ENDPOINT).invoke(json.loads(payload), model=model, deadline=120)
    except json.JSONDecodeError as error:
        st.error(f"The payload is not JSON: {error}")
    except MMEError as error:
        st.error(str(error))
    else:
        st.json(reply.value)
        st.caption(f"{reply.latency:.3f} s, cold: {reply.cold}, attempts: {reply.attempts}")
