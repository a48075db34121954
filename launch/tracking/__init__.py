"""What leaves a run for a tracker: metrics, pictures, lineage; written offline by a process of its own, sent later.

Training talks to nobody but the feed (``feed.py``), which never waits. At its other end a small process
(``client.py``) holds the real wandb client in offline mode. What it wrote is sent by `anchor track sync` (``sync.py``).
Nothing here loads before it is used: the process at the far end needs neither torch nor Lightning.
"""
