"""IAM: users, roles and policies, and the decision whether a policy allows a request."""
