"""The stake proof: candidates, votes, tallies, certificates and the rules R0 to R9. Knows nothing of peers or disks."""
