"""What both edges, the scheduler service and the node agent, need to touch the world: Kubernetes, logs, settings.

The edges may not import each other; what they would otherwise write twice is here. Nothing here knows what either of
them is for. Reading order:

    objects     the partial Kubernetes objects that both read
    containers  from a pod's containers to the core's
    changes     what lists and watches say of them
    list_watch  list + watch of one collection, again and again
    access      where an API server is and how to be let in: by a `kubeconfig`, or a pod's `service_account`
    http_connection  one HTTP/1.1 connection, one exchange after the other
    http_client  calls and streams over a few kept connections
    kube        the connection to an API server
    settings    settings from flags, environment and a file
    logs        one structured line per decision
    document_text  YAML and JSON as people write them, read strictly
"""
