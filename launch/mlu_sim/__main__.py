"""``python -m launch.mlu_sim``: compile the simulated card ahead of its first use, and say where it lies."""

from __future__ import annotations

import sys

from launch.mlu_sim import SimulatorError, build


def main() -> int:
    """Status 0, or 2 where it cannot be compiled."""
    try:
        print(build())
    except SimulatorError as error:
        print(f"launch.mlu_sim: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
