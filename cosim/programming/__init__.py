"""Programming: what was trained digitally, or as an ideal circuit, written into the conductances of a real window."""
