"""The project's tests. A package so that the simulator can be run as a module."""
