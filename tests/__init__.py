"""Tests, in the folders of lib; a package, so that they can import `tests.paths` and the toys beside them."""
