"""The work proof: exact integer programs, noise, tickets, receipts, audits, credit. Pure: no clock, chance, files or sockets."""
