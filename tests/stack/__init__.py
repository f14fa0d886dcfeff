"""The whole story on one machine without a GPU: an app, an ingress, Dynamo and Triton, and their slices."""
