"""What a block does to the world, and where the world is kept. Knows nothing of peers, sockets or the command line."""
