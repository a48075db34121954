"""Of two test files with one name pytest collects only one."""

from collections import Counter
from pathlib import Path


def test_every_test_file_has_a_name_of_its_own():
    counts = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in counts.items() if count > 1] == []
