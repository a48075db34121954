"""Where configurations become runs: compose once, check, start one worker per card."""

__distribution__ = "virtual-anchor"  # anchor.guard tells ours from others of the same name
