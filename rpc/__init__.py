"""How the world asks a node: JSON-RPC, subscriptions and uploads. Reads state, submits transactions, changes nothing else."""
