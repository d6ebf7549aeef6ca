"""The rules of money and review, pure: a view and a block give a delta. No clock, no floats, no database."""
