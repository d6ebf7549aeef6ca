"""Where both proofs meet: epochs, the beacon, and who leads a view. Computes; decides nothing."""
