"""The addresses that Services have. Called by `servers`, `certificates` and `testbed.node`.

Nothing carries traffic to them but, on a real node, to the API server's own one, which every cluster's pods use.
"""

SUBNET = "10.0.0.0/24"
API_SERVER = "10.0.0.1"  # the first address: kube-apiserver gives it to its own Service, `kubernetes`
API_SERVER_PORT = 443
