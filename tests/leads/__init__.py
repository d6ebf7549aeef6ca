"""Who led a real net, held against the credit that drew the leaders: exactly, view by view, and by chi-squared over many."""
