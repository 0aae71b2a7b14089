"""All the fixtures."""

from fixtures import *  # pytest finds them by their names here
from store_room import fixture_store  # the same
