"""The stages of dvc.yaml, `python -m components NAME`, and the commands that `slipway` has too: a file each."""

DECIDING = "registering the model, comparing it and deciding ..."  # said by register where there is something to do
