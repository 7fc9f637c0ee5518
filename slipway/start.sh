#!/bin/sh
# The command `slipway`: the set-up copies this beside the environment's Python. -P: whatever the current folder holds.
exec "$(dirname "$(readlink -f "$0")")/python" -P -X utf8 -m slipway "$@"
