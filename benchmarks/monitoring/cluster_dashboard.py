"""The dashboard of the cluster, for its administrator: room, queue, use, and how the scheduler does."""

from benchmarks.monitoring.panels import RATE, Dashboard, Panel, Query, Row, quantiles

CLUSTER = Dashboard(
    uid="migsched-cluster",
    title="migsched: cluster",
    description="Room, queue and use of MIG slices. What each panel means: docs/monitoring.md.",
    rows=(
        Row(
            "Now",
            (
                Panel(
                    "Replica that decides",
                    "1 while a replica of the scheduler decides. 0: pods with slices wait.",
                    [Query("max(migsched_leader)")],
                    "none",
                    type="stat",
                    width=4,
                    height=4,
                    texts={0: ("none", "red"), 1: ("there is one", "green")},
                ),
                Panel(
                    "Alerts",
                    "Alerts of migsched that fire.",
                    [Query('count(ALERTS{alertname=~"Migsched.+",alertstate="firing"}) or vector(0)')],
                    "none",
                    type="stat",
                    width=4,
                    height=4,
                    steps=((1, "red"),),
                ),
                Panel(
                    "Nodes",
                    "Nodes with a usable report, and those of them that take no pods.",
                    [Query("max(migsched_nodes)", "all"), Query("max(migsched_closed_nodes)", "take no pods")],
                    "none",
                    type="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Pods that wait",
                    "Pods in the queue without a place.",
                    [Query('max(migsched_queued_pods{state="queued"})')],
                    "none",
                    type="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Agents not ready",
                    "Agents whose MigNode says Ready False, and agents that cannot be scraped.",
                    [
                        Query("count(migsched_agent_ready == 0) or vector(0)", "not ready"),
                        Query('count(up{job="migsched-agents/migsched-agent"} == 0) or vector(0)', "not reached"),
                    ],
                    "none",
                    type="stat",
                    width=4,
                    height=4,
                    steps=((1, "red"),),
                ),
                Panel(
                    "Ill GPUs",
                    "GPUs that need a reset.",
                    [Query('sum(migsched_agent_ill{subject="gpu"})')],
                    "none",
                    type="stat",
                    width=4,
                    height=4,
                    steps=((1, "red"),),
                ),
            ),
        ),
        Row(
            "Room",
            (
                Panel(
                    "Could start now",
                    "How many more slices of each profile fit now, each asked for alone; geometry only.",
                    [Query("max by (model, profile) (migsched_placeable_slices)", "{{model}} {{profile}}", True)],
                    "none",
                    type="bargauge",
                    height=10,
                ),
                Panel(
                    "Memory slices",
                    "Free ones on nodes that take pods, those of them that no profile in demand can use, and free "
                    "ones on nodes that take no pods.",
                    [
                        Query("max by (model) (migsched_free_memory_slices)", "free {{model}}"),
                        Query("max by (model) (migsched_stranded_memory_slices)", "stranded {{model}}"),
                        Query("max by (model) (migsched_closed_memory_slices)", "closed {{model}}"),
                    ],
                    "none",
                    height=10,
                ),
                Panel(
                    "Could start, over time",
                    "The same as on the left above: where a line is 0, a pod of that profile waits.",
                    [Query("max by (model, profile) (migsched_placeable_slices)", "{{model}} {{profile}}")],
                    "none",
                ),
                Panel(
                    "Stranded share",
                    "Share of the free memory slices that no profile in demand can use. A repack makes room.",
                    [Query("model:migsched_stranded_memory_slices:ratio", "{{model}}")],
                    "percentunit",
                    top=1,
                ),
            ),
        ),
        Row(
            "Queue",
            (
                Panel(
                    "Pods that wait, by reason",
                    "By the code of why they wait (docs/explain.md); new: not asked yet.",
                    [Query("max by (reason) (migsched_queued_pods_by_reason)", "{{reason}}")],
                    "none",
                    stacked=True,
                ),
                Panel(
                    "Pods in the queue, by state",
                    "queued: no place; held: a place, gate still there; released: kube-scheduler binds it.",
                    [Query("max by (state) (migsched_queued_pods)", "{{state}}")],
                    "none",
                    stacked=True,
                ),
                Panel(
                    "Pods that wait, by namespace",
                    "The 20 namespaces with most of them; the rest is _other.",
                    [
                        Query(
                            "max by (exported_namespace) (migsched_queued_pods_by_namespace)", "{{exported_namespace}}"
                        )
                    ],
                    "none",
                    stacked=True,
                ),
                Panel(
                    "Wait for a place",
                    "From a pod's creation to its release. Who still waits is not in it.",
                    quantiles("migsched_queue_wait_seconds"),
                    "s",
                ),
                Panel(
                    "Wait for the Binding",
                    "From a pod's release to its Binding by the cluster's scheduler.",
                    quantiles("migsched_queue_bind_seconds"),
                    "s",
                ),
                Panel(
                    "Releases",
                    "Per second: released, refused by the API server, returned by kube-scheduler.",
                    [Query(f"sum by (outcome) (rate(migsched_queue_releases_total[{RATE}]))", "{{outcome}}")],
                    "ops",
                ),
                Panel(
                    "Preemption",
                    "Per second: rooms that were made for more important pods, by outcome, and pods evicted.",
                    [
                        Query(f"sum by (outcome) (rate(migsched_queue_preemptions_total[{RATE}]))", "{{outcome}}"),
                        Query(f"sum(rate(migsched_queue_evicted_pods_total[{RATE}]))", "pods evicted"),
                    ],
                    "ops",
                ),
                Panel(
                    "Time of a cycle",
                    "How long the queue looks at its pods, each time.",
                    quantiles("migsched_queue_cycle_seconds"),
                    "s",
                ),
            ),
        ),
        Row(
            "Use",
            (
                Panel(
                    "Memory by namespace",
                    "GPU memory of pods' slices now, by what the driver reports of the profile, used or not.",
                    [
                        Query(
                            f"sum by (exported_namespace) (rate(migsched_agent_allocated_mib_seconds_total[{RATE}]))",
                            "{{exported_namespace}}",
                        )
                    ],
                    "mbytes",
                    stacked=True,
                ),
                Panel(
                    "GiB-hours by namespace",
                    "GPU memory of pods' slices times hours, over the time that the dashboard shows.",
                    [
                        Query(
                            "sum by (exported_namespace) "
                            "(increase(migsched_agent_allocated_mib_seconds_total[$__range])) / 1024 / 3600"
                        )
                    ],
                    "none",
                    type="table",
                    columns={"exported_namespace": "Namespace", "Value": "GiB-hours"},
                ),
                Panel(
                    "Unused slices",
                    "Slices of pods on which no process was seen for an hour. Some clients hold one without a process.",
                    [
                        Query(
                            "count by (exported_namespace, profile) ((migsched_slice_unused_seconds "
                            "* on (gpu_uuid, gi) group_left (profile, exported_namespace) "
                            "max by (gpu_uuid, gi, profile, exported_namespace) "
                            '(migsched_slice_info{state="allocated"})) > 3600)',
                            "{{exported_namespace}} {{profile}}",
                        )
                    ],
                    "none",
                    stacked=True,
                ),
                Panel(
                    "Slices by state",
                    "allocated: a pod's; idle: cut and free; foreign: cut by something else.",
                    [Query("sum by (state) (migsched_agent_slices)", "{{state}}")],
                    "none",
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Scheduler",
            (
                Panel(
                    "Extender",
                    "Server time of calls of kube-scheduler. Empty where the queue is used without the extender.",
                    quantiles("migsched_extender_verb_seconds", by="verb"),
                    "s",
                ),
                Panel(
                    "Decisions of the extender",
                    "Per second, by outcome and reason.",
                    [
                        Query(
                            f"sum by (verb, outcome, reason) (rate(migsched_extender_decisions_total[{RATE}]))",
                            "{{verb}} {{outcome}} {{reason}}",
                        )
                    ],
                    "ops",
                ),
                Panel(
                    "Memory of the process",
                    "Resident memory of each replica, gateway and planner aside.",
                    [Query("process_resident_memory_bytes and on (job, instance) migsched_synced", "{{pod}}")],
                    "bytes",
                    width=8,
                ),
                Panel(
                    "Processor",
                    "Processors that each replica uses, gateway and planner aside.",
                    [
                        Query(
                            f"rate(process_cpu_seconds_total[{RATE}]) and on (job, instance) migsched_synced", "{{pod}}"
                        )
                    ],
                    "none",
                    width=8,
                ),
                Panel(
                    "Lists requested again",
                    "Per second, by kind and cause: an API server or a network that breaks watches.",
                    [
                        Query(
                            f"sum by (kind, cause) (rate(migsched_watch_restarts_total[{RATE}]))", "{{kind}} {{cause}}"
                        )
                    ],
                    "ops",
                    width=8,
                ),
            ),
        ),
    ),
)
