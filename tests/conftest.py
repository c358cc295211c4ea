"""What all tests share: examples that repeat."""

from hypothesis import settings


def pytest_configure() -> None:
    """The same examples in every run, and no deadline: a busy machine is no failure."""
    settings.register_profile("gemino", derandomize=True, deadline=None, print_blob=True)
    settings.load_profile("gemino")
