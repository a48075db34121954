"""Run the items of ``mlu_items.py`` on two simulated cards and print their outcomes as JSON."""

import json
import sys
from pathlib import Path

import mlu_items

from launch.mlu_qualify.process import make_context, run_item

if __name__ == "__main__":
    logs = Path(sys.argv[-1])
    context = make_context()
    outcomes = [run_item(item, context, 2, True, None, logs) for item in mlu_items.ITEMS]
    json.dump([[outcome.item, outcome.state, outcome.text] for outcome in outcomes], sys.stdout)
