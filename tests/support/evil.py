"""Things that leave a mark when they run: what hostile files carry."""

import pickle


class Evil:
    """Unpickled, it creates the file ``mark``."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


def evil_pickle(mark, protocol=4):
    """A pickle that creates ``mark``."""
    return pickle.dumps({"state_dict": Evil(mark), "hyper_parameters": {}}, protocol)
