"""A model of a multi-model endpoint through langchain's own class for SageMaker, without mme_sdk.

Run `python examples/with_host.py python examples/llm/langchain_aws_endpoint.py`. Needs `pip install langchain-aws`.
boto3 raises an error while a model loads; examples/llm/langchain_chain.py waits.
"""

from __future__ import annotations

import json
import os
from typing import Any

from langchain_aws.llms.sagemaker_endpoint import LLMContentHandler, SagemakerEndpoint


class Handler(LLMContentHandler):
    """Writes and reads the JSON of Hugging Face's text generation."""

    content_type = "application/json"
    accepts = "application/json"

    def transform_input(self, prompt: str, model_kwargs: dict[str, Any]) -> bytes:
        """Return the body of a request."""
        return json.dumps({"inputs": prompt, "parameters": model_kwargs}).encode()

    def transform_output(self, output: Any) -> str:
        """Return the text of an answer."""
        return str(json.loads(output.read())[0]["generated_text"])


def main() -> str:
    llm = SagemakerEndpoint(
        endpoint_name="scoring",
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        content_handler=Handler(),
        endpoint_kwargs={"TargetModel": "writer/v1.tar.gz"},  # none for a single-model endpoint
    )
    return str(llm.invoke("Say hello."))


if __name__ == "__main__":
    print(main())
