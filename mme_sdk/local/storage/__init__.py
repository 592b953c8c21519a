"""The data of the embedded SageMaker: SeaweedFS as S3, and the files of the data directory."""
