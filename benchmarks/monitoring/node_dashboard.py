"""The dashboard of a node, for the one who looks into it: its slots, who has which slice, and how its agent does."""

from benchmarks.monitoring.panels import RATE, Dashboard, Panel, Query, Row, Variable, quantiles

NODE = 'node=~"$node"'
STATES = {
    0: ("nothing", "semi-dark-green"),
    1: ("idle slice", "light-blue"),
    2: ("a pod's", "blue"),
    3: ("foreign", "purple"),
    4: ("ill, or takes no work", "red"),
}
OWNER = "profile, exported_namespace, exported_pod"
OWNED = f'max by (gpu_uuid, gi, node, {OWNER}) (migsched_slice_info{{{NODE},state="allocated"}})'

NODES = Dashboard(
    uid="migsched-node",
    title="migsched: node",
    description="The GPUs of a node, who has which slice, and how its agent does.",
    variables=(Variable("node", "migsched_agent_ready", "node"),),
    rows=(
        Row(
            "GPUs",
            (
                Panel(
                    "Slot map",
                    "What is on each memory slice of each GPU, over time.",
                    [
                        Query(
                            f"max by (node, gpu, memory_slice) (migsched_agent_memory_slice_state{{{NODE}}})",
                            "{{node}} GPU {{gpu}} · {{memory_slice}}",
                        )
                    ],
                    "none",
                    type="state-timeline",
                    width=24,
                    height=14,
                    texts=STATES,
                ),
                Panel(
                    "Slices",
                    "Each slice that there is, and whose it is.",
                    [
                        Query(
                            "max by (node, gpu_uuid, start, profile, state, exported_namespace, exported_pod, "
                            f"exported_container, mig_uuid) (migsched_slice_info{{{NODE}}})"
                        )
                    ],
                    "none",
                    type="table",
                    width=24,
                    height=10,
                    columns={
                        "node": "Node",
                        "gpu_uuid": "GPU",
                        "start": "Start",
                        "profile": "Profile",
                        "state": "State",
                        "exported_namespace": "Namespace",
                        "exported_pod": "Pod",
                        "exported_container": "Container",
                        "mig_uuid": "MIG UUID",
                    },
                ),
                Panel(
                    "Unused slices",
                    "Slices of pods without a process for ten minutes, and for how long.",
                    [
                        Query(
                            f"migsched_slice_unused_seconds{{{NODE}}} "
                            f"* on (gpu_uuid, gi, node) group_left ({OWNER}) {OWNED} > 600"
                        )
                    ],
                    "s",
                    type="table",
                    columns={
                        "node": "Node",
                        "exported_namespace": "Namespace",
                        "exported_pod": "Pod",
                        "profile": "Profile",
                        "Value": "Unused for",
                    },
                ),
                Panel(
                    "Faults",
                    "XIDs in five minutes, by number and class (docs/health.md), and what is ill now.",
                    [
                        Query(
                            f"sum by (node, xid, class) (increase(migsched_agent_xids_total{{{NODE}}}[5m])) > 0",
                            "{{node}} XID {{xid}} {{class}}",
                        ),
                        Query(f"migsched_agent_ill{{{NODE}}} > 0", "{{node}} ill {{subject}}"),
                    ],
                    "none",
                ),
            ),
        ),
        Row(
            "Slices in dcgm-exporter's metrics",
            (
                Panel(
                    "Compute",
                    "Share of time in which a slice computes. Needs dcgm-exporter and the rules of migsched-dcgm.",
                    [
                        Query(
                            "slice:DCGM_FI_PROF_GR_ENGINE_ACTIVE:max * on (UUID, GPU_I_ID) group_left () "
                            f"label_replace(label_replace(max by (gpu_uuid, gi) (migsched_slice_info{{{NODE}}}), "
                            '"UUID", "$1", "gpu_uuid", "(.*)"), "GPU_I_ID", "$1", "gi", "(.*)")',
                            "{{namespace}}/{{pod}} {{profile}}",
                        )
                    ],
                    "percentunit",
                    top=1,
                ),
                Panel(
                    "Memory in use",
                    "Memory of a slice that its pod uses. Needs dcgm-exporter and the rules of migsched-dcgm.",
                    [
                        Query(
                            "slice:DCGM_FI_DEV_FB_USED:max * on (UUID, GPU_I_ID) group_left () "
                            f"label_replace(label_replace(max by (gpu_uuid, gi) (migsched_slice_info{{{NODE}}}), "
                            '"UUID", "$1", "gpu_uuid", "(.*)"), "GPU_I_ID", "$1", "gi", "(.*)")',
                            "{{namespace}}/{{pod}} {{profile}}",
                        )
                    ],
                    "mbytes",
                ),
            ),
        ),
        Row(
            "Agent",
            (
                Panel(
                    "Ready",
                    "Whether the agent can cut; kubectl get mn says why not.",
                    [Query(f"max by (node) (migsched_agent_ready{{{NODE}}})", "{{node}}")],
                    "none",
                    type="state-timeline",
                    texts={0: ("not ready", "red"), 1: ("ready", "green")},
                ),
                Panel(
                    "Time to slice",
                    "From a bound pod's first sight to its slice in its container's hands.",
                    quantiles("migsched_agent_time_to_slice_seconds", NODE),
                    "s",
                ),
                Panel(
                    "Time to cut",
                    "Time that the driver takes to cut a slice.",
                    quantiles("migsched_agent_cut_seconds", NODE),
                    "s",
                    width=8,
                ),
                Panel(
                    "Time to destroy",
                    "Time that the driver takes to destroy a slice.",
                    quantiles("migsched_agent_destroy_seconds", NODE),
                    "s",
                    width=8,
                ),
                Panel(
                    "Time of an Allocate",
                    "From the kubelet's call to the answer, by outcome.",
                    quantiles("migsched_agent_allocate_seconds", NODE, by="outcome"),
                    "s",
                    width=8,
                ),
                Panel(
                    "What fails",
                    "Per second: steps by action, calls of the driver by error.",
                    [
                        Query(
                            f"sum by (action) (rate(migsched_agent_failures_total{{{NODE}}}[{RATE}]))",
                            "step {{action}}",
                        ),
                        Query(
                            f"sum by (call, error) (rate(migsched_agent_driver_errors_total{{{NODE}}}[{RATE}]))",
                            "{{call}}: {{error}}",
                        ),
                    ],
                    "ops",
                ),
                Panel(
                    "Leaked slices and unreadable pods",
                    "Slices whose pod is over but on which a process runs; pods that cannot be read.",
                    [
                        Query(f"sum by (node) (migsched_agent_leaked_slices{{{NODE}}})", "leaked {{node}}"),
                        Query(f"sum by (node) (migsched_agent_unreadable_pods{{{NODE}}})", "unreadable {{node}}"),
                    ],
                    "none",
                ),
                Panel(
                    "Memory of the process",
                    "Resident memory of each agent.",
                    [Query(f"process_resident_memory_bytes{{{NODE}}}", "{{node}}")],
                    "bytes",
                ),
                Panel(
                    "Builds",
                    "Which build each agent is.",
                    [Query(f"max by (node, version, commit, python) (migsched_build_info{{{NODE}}})")],
                    "none",
                    type="table",
                    columns={"node": "Node", "version": "Version", "commit": "Commit", "python": "Python"},
                ),
            ),
        ),
    ),
)
