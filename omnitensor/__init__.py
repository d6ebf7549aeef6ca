"""What users of OmniTensor import: the protocol, the light client, the SDK and the command line. Never a room of the node."""
