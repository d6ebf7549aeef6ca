"""Content-addressed bytes off the chain: chunks, the disk store, uploads and media inspection. Never touches the ledger."""
