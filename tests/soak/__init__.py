"""The soak: real nodes in network namespaces, cut off, killed and doubled for as long as one likes, watched from outside."""
