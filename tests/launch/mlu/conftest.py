import pytest

from launch.mlu import library


@pytest.fixture(scope="session")
def simulator():
    """The simulated card, built; or why there is none."""
    from launch import mlu_sim

    if library.is_installed():
        pytest.skip("a real torch_mlu is installed here, and the simulator steps back")
    try:
        mlu_sim.build()
    except mlu_sim.SimulatorError as error:
        pytest.skip(str(error))


@pytest.fixture
def two_simulated_cards(simulator):
    """What processes need to see two simulated cards, as environment variables."""
    return {"ANCHOR_MLU_SIM": "2"}
