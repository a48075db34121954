"""Checkpoints of untrained networks, as a stage leaves them: for stages and tests that need one to begin from."""

import torch

from anchor.models import describe


def save_network(path, net):
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, path)
    return path
