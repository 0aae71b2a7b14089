"""All the fixtures."""

from fixtures import *  # pytest finds them by their names here
