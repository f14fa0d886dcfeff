"""From manifests to the pods that Kubernetes' controllers and the Dynamo operator would make of them.

- `manifests` reads YAML files: documents with the place they came from.
- `expand` makes pods of documents; kinds that make no pods are listed as skipped.
- `translation` writes the shipped examples in another GPU model's profile names.
- `templates` makes one pod of a pod template, `dynamo` reads Dynamo graphs, `fields` reads fields, naming bad ones.

Used by the demo, where no controllers run, and by tools that plan for manifests.
"""
