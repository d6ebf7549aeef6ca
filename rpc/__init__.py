"""How the world asks a node: JSON-RPC, subscriptions, uploads. Reads state and submits transactions, changes nothing else."""
