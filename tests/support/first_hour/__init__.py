"""What a person does wrong in the first hour with the package, and an embedded SageMaker to do it on."""
