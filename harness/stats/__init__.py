"""Statistics of the protocol: numpy in, frozen records out; no torch, no pytest, no models."""
