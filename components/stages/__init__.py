"""The stages of dvc.yaml, `python -m components NAME`, and the commands that `slipway` has too: a file each."""
