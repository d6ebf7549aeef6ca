"""A whole net on one machine: validators, reviewers, a sponsor and a contributor, all as processes of their own."""
