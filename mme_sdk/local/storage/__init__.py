"""What the embedded SageMaker keeps on disk: SeaweedFS as S3, and the folder of its data."""
