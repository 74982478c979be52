"""The campaign: short runs of a fleet under writes, reads and faults, each from a seed."""
