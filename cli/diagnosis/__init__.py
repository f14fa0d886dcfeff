"""What is wrong with a cluster, by one picture of it (docs/adr/0030). Used by `migsched doctor` and `handover`.

text        text of the cluster, bounded and without control characters
finding     a check, what it found, and what was not looked at
objects     the kinds that are read, in part
schema      the fields that a CRD's schema has
picture     an immutable picture of the cluster
decoding    from an object's text to what the picture keeps of it
checks      pure functions from the picture to what is wrong
drivers     the driver that each GPU needs
registry    all checks, and how they are run
rights      what the services' accounts have to be allowed
standings   what `scheduler.explain` says of each pod of the picture
reader      reads the picture from an API server
handover    which changes give a node to migsched, or back
page        the tables of the docs that are made from the checks
"""
