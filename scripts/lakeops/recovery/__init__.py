"""Say what is wrong, bring back what was lost, take back what was wrong; writes through `bronze` and `delta`."""
