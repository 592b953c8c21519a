"""Models of endpoints under litellm's interface: a single-model endpoint, and a model of a multi-model endpoint.

Run `python examples/with_host.py python examples/llm/litellm_completion.py`. Needs `pip install litellm`. With
LITELLM_LOCAL_MODEL_COST_MAP=True in the environment, litellm does not download its list of prices when it is imported.
"""

from __future__ import annotations

import os
from typing import Any

import litellm

from mme_sdk import MMEClient


def single_model() -> str:
    """Ask a single-model endpoint with litellm's own provider.

    litellm does not read AWS_ENDPOINT_URL; `sagemaker_base_url` is the address of the embedded SageMaker.
    """
    local = os.environ.get("AWS_ENDPOINT_URL")
    where = {"sagemaker_base_url": f"{local}/endpoints/chat/invocations"} if local else {}
    messages = [{"role": "user", "content": "Say hello."}]
    return str(litellm.completion(model="sagemaker/chat", messages=messages, **where).choices[0].message.content)


class MultiModel(litellm.CustomLLM):
    """A provider of litellm whose models are those of one multi-model endpoint: `mme/writer@live`."""

    def __init__(self, client: MMEClient, endpoint: str, models: str) -> None:
        super().__init__()
        client.models(models)  # resolves aliases
        self.endpoint = client.endpoint(endpoint)

    def completion(self, model: str, messages: list[Any], model_response: litellm.ModelResponse, **options: Any) -> Any:
        """Answer the messages with a model of the endpoint."""
        prompt = "\n".join(str(message["content"]) for message in messages)
        body = {"inputs": prompt, "parameters": options.get("optional_params") or {}}
        model_response.choices[0].message.content = self.endpoint.invoke(body, model=model).value[0]["generated_text"]
        model_response.model = model
        return model_response


def multi_model() -> str:
    """Ask a model of a multi-model endpoint."""
    with MMEClient() as client:
        provider = MultiModel(client, "scoring", "s3://ml-models/prod/")
        litellm.custom_provider_map = [{"provider": "mme", "custom_handler": provider}]
        messages = [{"role": "user", "content": "Say hello."}]
        return str(litellm.completion(model="mme/writer@live", messages=messages).choices[0].message.content)


if __name__ == "__main__":
    print(single_model())
    print(multi_model())
