"""What OperatorHub takes of the product: a bundle, a catalogue, and the list of images for clusters without a network.

All of it is made from deploy/olm, which `make bundle` builds and splits; docs/adr/0037 says why it is split.
"""
