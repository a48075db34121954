"""Has a stage learnt? Scores on held-out clips, with the ground truth scored by the same code beside ours."""

from anchor.evaluation.evaluate import evaluate, evaluate_source

__all__ = ["evaluate", "evaluate_source"]
