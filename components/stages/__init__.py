"""The stages of dvc.yaml and the other commands, a file each: python -m components NAME."""
