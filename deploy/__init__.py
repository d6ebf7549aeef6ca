"""What runs nodes for people to look at: the devnet. Not part of the installed package."""
