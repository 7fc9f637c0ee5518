"""Check the raw data."""

import json
from pathlib import Path

import digits

report = digits.validate(*digits.read("data/raw"))
Path("build").mkdir(exist_ok=True)
Path("build/report.json").write_text(json.dumps(report))
