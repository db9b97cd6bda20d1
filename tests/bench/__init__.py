"""`make bench`: what a proof costs, side by side in one run. Not part of the tests."""
