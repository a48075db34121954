"""Qualify Cambricon MLU cards for training: every item that documentation cannot answer, tried on the card itself.

``qualify(out)`` runs each item in processes of its own, prints one table and writes ``report.md`` and ``report.json``.
It needs ``launch.mlu``, torch and lightning, and no more.
"""

from launch.mlu_qualify.outcome import Outcome, QualificationError
from launch.mlu_qualify.qualify import qualify

__all__ = ["Outcome", "QualificationError", "qualify"]
