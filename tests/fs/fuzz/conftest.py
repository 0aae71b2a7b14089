"""The clean-up of tests/mount."""

from fixtures import clean_up, pytest_configure, shared_mounts
