"""What to buy, move and evict: capacity plans, repacks, migration and preemption; exact programs in `packing`."""
