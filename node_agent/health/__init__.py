"""What the driver reports against a GPU: what each fault means, what it makes ill, and how that ends. Pure.

`xids` is the table, `faults` reads a driver event by it, `policy` says what a fault does here, `marks` keeps what is
ill until it is well again. State changes the marks, the journal keeps them. The rules are in docs/health.md.
"""
