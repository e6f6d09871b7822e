"""Bring back what was lost and take back what was wrong; writes through `bronze` and `delta`."""
