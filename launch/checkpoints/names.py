"""What stands in ``<run_dir>/checkpoints``, and where in a checkpoint our own part is."""

LAST = "last.ckpt"
PREVIOUS = "last-previous.ckpt"  # the one before, of the same training
KEPT = ".last-previous.ckpt.kept"  # the one before, while it changes its name
BEST = "best.ckpt"
PARTIAL = ".{name}.partial-{host}-{process}-{id}"  # being written; left behind only by a process that was killed
DAMAGED = "{name}.damaged"  # set aside when a run went on from an older one
STATE = "anchor"  # key in a checkpoint: the run's name, every rank's random state, consumed windows, the place
