"""Bounds that travel through the graph of a network: tighter than those from a profile alone."""
