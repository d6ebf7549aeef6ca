"""How nodes talk: frames, handshake, peers, gossip and sync. Judges form and origin, never the meaning of a block."""
