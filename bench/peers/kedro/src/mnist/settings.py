"""The project's settings: those of a new Kedro project."""

CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
