"""Drawn people who speak: pictures, sound and the truth about both.

``corpus.render_corpus`` writes videos (``anchor synth``), ``source.SyntheticSource`` keeps crops in memory,
``clip.make_clip`` is one take. Nothing is imported here, so ``anchor synth`` starts without torch.
"""
