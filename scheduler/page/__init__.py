"""The web page's side of the service: the document that the page shows, kept current and told to whoever follows.

document     the document and its changes, as types
typescript   the same types for the page's own sources
"""
