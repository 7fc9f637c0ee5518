"""MNIST as a Kedro project."""
