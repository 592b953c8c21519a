"""Invoke an endpoint with langchain-aws. The argument is the name of an endpoint that doubles a list of numbers."""

import json
import sys

from langchain_aws.llms.sagemaker_endpoint import LLMContentHandler, SagemakerEndpoint


class Handler(LLMContentHandler):
    """Sends a prompt as a list of numbers."""

    content_type = "application/json"
    accepts = "application/json"

    def transform_input(self, prompt, model_kwargs):
        return json.dumps([float(one) for one in prompt.split()]).encode()

    def transform_output(self, output):
        return " ".join(str(one) for one in json.loads(output.read()))


llm = SagemakerEndpoint(endpoint_name=sys.argv[1], region_name="us-east-1", content_handler=Handler())
answer = llm.invoke("1 2")
assert answer == "2.0 4.0", answer
print("done")
