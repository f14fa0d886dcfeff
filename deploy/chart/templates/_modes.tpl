{{/* What follows from the mode, and values that do not go together. */}}

{{/* Whether the cluster serves MutatingAdmissionPolicy; empty if not. Without a cluster Helm knows no kinds: its version says. */}}
{{- define "migsched.mutates" -}}
{{- $known := .Capabilities.APIVersions -}}
{{- if $known.Has "v1/Pod" }}{{ $known.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" | ternary "yes" "" }}
{{- else if semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version }}yes{{ end -}}
{{- end -}}

{{/* Who gives the gate: policy, webhook or none. */}}
{{- define "migsched.admission" -}}
{{- if ne .Values.mode "queue" }}none
{{- else if ne .Values.queue.admission "auto" }}{{ .Values.queue.admission }}
{{- else if include "migsched.mutates" . }}policy
{{- else }}webhook
{{- end -}}
{{- end -}}

{{/* How many replicas. */}}
{{- define "migsched.replicas" -}}
{{- if kindIs "invalid" .Values.scheduler.replicas }}{{ eq .Values.mode "queue" | ternary 2 1 }}{{ else }}{{ int .Values.scheduler.replicas }}{{ end -}}
{{- end -}}

{{/* The names of PriorityClasses. Takes root, component. */}}
{{- define "migsched.priority" -}}
{{- if .root.Values.priorityClasses.create }}migsched-{{ .component }}{{ else }}{{ (index .root.Values .component).priorityClassName }}{{ end -}}
{{- end -}}

{{- define "migsched.check" -}}
{{- $values := .Values -}}
{{- if and (ne $values.mode "queue") (gt (int (include "migsched.replicas" .)) 1) -}}
{{- fail (printf "scheduler.replicas: must be 1 in the mode %s: two extenders could promise the same place; use mode: queue" $values.mode) -}}
{{- end -}}
{{- if and (ne $values.mode "queue") (ne $values.queue.admission "auto") -}}
{{- fail (printf "queue.admission: says nothing in the mode %s: leave it out, or use mode: queue" $values.mode) -}}
{{- end -}}
{{- if and (ne $values.mode "queue") $values.queue.moves -}}
{{- fail (printf "queue.moves: needs mode: queue, which gives replacements their places; the mode is %s" $values.mode) -}}
{{- end -}}
{{- if and (eq $values.queue.admission "policy") (not (include "migsched.mutates" .)) -}}
{{- fail (printf "queue.admission: policy needs MutatingAdmissionPolicy, which Kubernetes %s does not serve (from 1.36 on): use auto or webhook" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (eq $values.mode "extender") (eq $values.extender.unnamedPods "mutate") (not (include "migsched.mutates" .)) -}}
{{- fail (printf "extender.unnamedPods: mutate needs MutatingAdmissionPolicy, which Kubernetes %s does not serve (from 1.36 on): use warn or deny" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $values.agent.enabled (eq $values.agent.namespace.name .Release.Namespace) -}}
{{- fail (printf "agent.namespace.name: must differ from the release's namespace %s: agents are privileged, and the scheduler's namespace is not" .Release.Namespace) -}}
{{- end -}}
{{- if and $values.simulate.enabled (not $values.agent.enabled) -}}
{{- fail "simulate.enabled: needs agent.enabled, whose GPUs it simulates" -}}
{{- end -}}
{{- if and $values.simulate.enabled (or $values.agent.hostDriver $values.agent.operatorToolkit $values.agent.operatorClient $values.agent.operatorLabels) -}}
{{- fail "simulate.enabled: simulated GPUs have no driver and no GPU Operator: leave agent.hostDriver, agent.operatorToolkit, agent.operatorClient and agent.operatorLabels out" -}}
{{- end -}}
{{- if and $values.openshift.route.enabled (not $values.openshift.route.host) -}}
{{- fail "openshift.route.host: is needed with openshift.route.enabled: the API answers only under names that it knows" -}}
{{- end -}}
{{- $scraped := and $values.apiLock.enabled $values.monitoring.serviceMonitor.enabled -}}
{{- if and $scraped (not $values.monitoring.serviceMonitor.tokenSecret) (not $values.scheduler.settings.api_open_metrics) -}}
{{- fail "monitoring.serviceMonitor.tokenSecret: is needed with apiLock.enabled: name a Secret with a token that may read metrics, or set scheduler.settings.api_open_metrics" -}}
{{- end -}}
{{- if and $values.monitoring.serviceMonitor.tokenSecret (not $values.apiLock.enabled) -}}
{{- fail "monitoring.serviceMonitor.tokenSecret: a token would be sent in the clear: use apiLock.enabled, or leave it out" -}}
{{- end -}}
{{- if and (eq $values.queue.webhook.certificate "service-ca") (not $values.openshift.enabled) -}}
{{- fail "queue.webhook.certificate: service-ca needs openshift.enabled: elsewhere nobody makes that certificate" -}}
{{- end -}}
{{- end -}}
