"""The formal model of the stake proof (Quint), and what runs it. No part of the product imports this."""
