"""MLflow: the connection, runs, the registry, and where a model comes from."""
