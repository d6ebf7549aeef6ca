"""The command line ``otensor-cli``: reads arguments, calls the SDK, prints. It holds no rule of its own."""
