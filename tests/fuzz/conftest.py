import pytest
from fuzzing import watching
from small_avatars import built, checkpoint, picture, video  # noqa: F401  # fixtures


@pytest.fixture
def watch(request, tmp_path):
    """Eyes on the parser that the test is named after."""
    with watching(request.node.name.removeprefix("test_"), tmp_path) as eyes:
        yield eyes
