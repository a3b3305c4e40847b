"""What the paper's chip costs for a network: parts, activity, time, energy; against the same network all-digital."""
