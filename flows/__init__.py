"""When and where the stages run: Prefect flows around the graph that DVC holds."""
