"""Tests of the simulator of people."""
