"""The hot path: kube-scheduler's four extender verbs, from the bytes on the wire to the Binding."""
