"""Bad moments in the ranks of a test, which has this folder in its PYTHONPATH and ANCHOR_TEST_FAULTS=FOLDER.

FOLDER/faults.json is a list of ``[what, rank, place, batch]``; each comes once, over all starts, and FOLDER/came-N
tells of it.

what: ``kill`` (SIGKILL to itself), ``suspend`` (SIGSTOP), ``sleep`` (ten minutes), ``nan`` (into the speech of the
rank's first window), ``loader`` (SIGKILL to one of its loader processes), ``digest`` (SHA-256 of the weights into the
marker). place: ``resumes`` (reads its checkpoint), ``computes`` (has a batch), ``gradients`` (has them, before its
step), ``learnt`` (after it), ``ends``.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time

HOOKS = {
    "on_load_checkpoint": "resumes",
    "on_train_batch_start": "computes",
    "on_before_optimizer_step": "gradients",
    "on_train_batch_end": "learnt",
    "on_train_end": "ends",
}


def come(folder, place, trainer, module, arguments):
    from lightning_modules.callbacks.place import batches_seen

    rank, batch = int(os.environ.get("RANK", "0")), batches_seen(trainer)
    with open(f"{folder}/faults.json", encoding="utf-8") as file:
        faults = json.load(file)
    for number, (what, at_rank, at_place, at_batch) in enumerate(faults):
        marker = f"{folder}/came-{number}"
        if (at_rank, at_place) != (rank, place) or (at_batch and at_batch != batch) or os.path.exists(marker):
            continue
        with open(marker, "w", encoding="utf-8") as file:
            if what == "digest":
                whole = hashlib.sha256()
                for name, value in sorted(module.state_dict().items()):
                    whole.update(name.encode() + value.contiguous().numpy().tobytes())
                file.write(whole.hexdigest())
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "suspend":
            os.kill(os.getpid(), signal.SIGSTOP)
        if what == "sleep":
            time.sleep(600)
        if what == "nan":
            arguments[0]["mel_B1MS"][0] = float("nan")
        if what == "loader":
            os.kill(trainer.train_dataloader._iterator._workers[0].pid, signal.SIGKILL)


def patch(folder):
    while not hasattr(sys.modules.get("launch.watchdog.callback"), "Heartbeat"):
        time.sleep(0.001)
    heartbeat = sys.modules["launch.watchdog.callback"].Heartbeat
    for hook, place in HOOKS.items():
        setattr(heartbeat, hook, followed(getattr(heartbeat, hook), folder, place))


def followed(do, folder, place):
    def call(self, trainer, module, *arguments):
        done = do(self, trainer, module, *arguments)
        come(folder, place, trainer, module, arguments)
        return done

    return call


if os.environ.get("ANCHOR_TEST_FAULTS") and "launch.worker" in " ".join(sys.orig_argv):
    threading.Thread(target=patch, args=(os.environ["ANCHOR_TEST_FAULTS"],), daemon=True).start()
