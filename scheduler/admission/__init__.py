"""The webhook that gives pods the queue's gate, where Kubernetes has no MutatingAdmissionPolicy yet (docs/queue.md).

gate_rule    which pods get the gate: pure, the rule of deploy/options/queue/gate.yaml
review       AdmissionReview in and out
webhook      the HTTP side, bounded
"""
