"""A soak: churn, faults, a bad network, rotating credentials and hostile tenants together, for as long as wanted."""
