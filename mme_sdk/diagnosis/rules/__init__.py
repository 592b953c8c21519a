"""The rules of a diagnosis: functions of an `ObservedEndpoint` that yield findings."""
