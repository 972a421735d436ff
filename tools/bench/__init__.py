"""Measurements that no table of `tools.figures` repeats by itself: single techniques, peers, floors."""
