// Upload a model, create, invoke and delete an endpoint with AWS's SDK for JavaScript v3.
// The argument is the path of an archive.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENT_MODULES}/`);
const { PutObjectCommand, S3Client } = require("@aws-sdk/client-s3");
const sagemaker = require("@aws-sdk/client-sagemaker");
const { InvokeEndpointCommand, SageMakerRuntimeClient } = require("@aws-sdk/client-sagemaker-runtime");

const name = "javascript";
const s3 = new S3Client({});
const put = await s3.send(new PutObjectCommand({
  Bucket: "clients", Key: "javascript/model.tar.gz", Body: readFileSync(process.argv[2]), ServerSideEncryption: "aws:kms",
}));
assert.equal(put.ServerSideEncryption, "aws:kms");

const client = new sagemaker.SageMakerClient({});
await client.send(new sagemaker.CreateModelCommand({
  ModelName: name,
  ExecutionRoleArn: "arn:aws:iam::123456789012:role/sagemaker",
  PrimaryContainer: { Image: "pytorch-inference:2.3-cpu-py311", Mode: "MultiModel", ModelDataUrl: "s3://clients/javascript/" },
}));
await client.send(new sagemaker.CreateEndpointConfigCommand({
  EndpointConfigName: name,
  ProductionVariants: [
    { VariantName: "AllTraffic", ModelName: name, InstanceType: "ml.m5.large", InitialInstanceCount: 1 },
  ],
}));
await client.send(new sagemaker.CreateEndpointCommand({ EndpointName: name, EndpointConfigName: name }));
await sagemaker.waitUntilEndpointInService({ client, maxWaitTime: 120, minDelay: 1, maxDelay: 1 }, { EndpointName: name });

const runtime = new SageMakerRuntimeClient({});
const answer = await runtime.send(new InvokeEndpointCommand({
  EndpointName: name, TargetModel: "model.tar.gz", ContentType: "application/json", Body: JSON.stringify([1.0, 2.0]),
}));
assert.deepEqual(JSON.parse(new TextDecoder().decode(answer.Body)), [2, 4]);
const missing = runtime.send(new InvokeEndpointCommand({ EndpointName: name, TargetModel: "none.tar.gz", Body: "[]" }));
await assert.rejects(missing, { name: "ValidationError" });
await client.send(new sagemaker.DeleteEndpointCommand({ EndpointName: name }));
console.log("done");
