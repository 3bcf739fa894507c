"""Venues that take orders, behind one interface; real ones and the simulated exchange alike."""
