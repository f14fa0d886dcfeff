"""Who owns what: the ledger of claims, agents' reports, the inventory that joins them, and the wire contract."""
