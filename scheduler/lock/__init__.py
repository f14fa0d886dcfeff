"""The lock of the capacity API: who calls, and whether they may (docs/adr/0029).

terms           what is told to it
routes          each route of the API, and what it asks of a caller
bearer          the token in a request, and how long it lives
caller          the caller's name, from the lock to the routes
known_callers   what the API server said of tokens and rights, kept for a short time
lock            a request's answer: admitted as somebody, or refused in words
"""
