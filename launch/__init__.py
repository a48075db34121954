"""Where configurations become runs: compose once, check, start one worker per card."""
