"""From manifests to the pods that Kubernetes' controllers and the operators of inference servers would make of them.

- `manifests` reads YAML files: documents with the place they came from.
- `expand` makes pods of documents; what it does not understand is listed, as objects or as fields.
- A translator per kind: `replicated` (Pod, Deployment, ReplicaSet, ReplicationController), `stateful_sets`,
  `daemon_sets`, `jobs` (Job, CronJob), `dynamo`, `leader_workers`, `ray`, `kserve`. `work` is what each is handed.
- `other_kinds` knows the kinds that make no pods.
- `translation` writes the shipped examples in another GPU model's profile names.
- `templates` makes one pod of a pod template, `fields` reads fields, naming bad ones.

Used by the demo, where no controllers run, and by tools that plan for manifests.
"""
