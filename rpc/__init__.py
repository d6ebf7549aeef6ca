"""How the world asks a node: JSON-RPC, subscriptions and uploads. Reads the state and submits transactions, changes nothing else."""
