"""The process: configuration, wiring, driver, signer, metrics and the command line of omnitensor-node."""
