"""The kubelet's side of the node agent: device plugins and PodResources over gRPC. Nothing else here speaks gRPC.

- `deviceplugin.proto` and `podresources.proto` are the interfaces; the `_pb2` modules are generated (`make protos`).
- `plugin.DevicePlugin` serves one resource; `plugins.Plugins` keeps all of them served and registered.
- `pod_resources.PodResources` asks which container holds which device.
"""
