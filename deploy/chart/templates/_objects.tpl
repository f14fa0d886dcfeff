{{/*
The objects of deploy/ as the kustomizations have them. files/ has copies of those files (`make chart`); templates change
of them what values say, so that nothing is written twice.
*/}}

{{/* The objects of a file under files/, in our namespaces, as JSON {"items": […]}. Takes root, file. */}}
{{- define "migsched.load" -}}
{{- $text := .root.Files.Get (printf "files/%s" .file) -}}
{{- if not $text }}{{ fail (printf "the chart has no files/%s: run `make chart`" .file) }}{{ end -}}
{{- $text = $text | replace "migsched-system" "%system%" | replace "migsched-agents" "%agents%" -}}
{{- $text = $text | replace "%system%" .root.Release.Namespace | replace "%agents%" .root.Values.agent.namespace.name -}}
{{- $items := list -}}
{{- range regexSplit "(?m)^---[ \t]*$" $text -1 -}}
{{- $object := fromYaml . -}}
{{- if hasKey $object "Error" }}{{ fail (printf "files/%s: %s" $.file $object.Error) }}{{ end -}}
{{- if $object }}{{ $items = append $items $object }}{{ end -}}
{{- end -}}
{{- toJson (dict "items" $items) -}}
{{- end -}}

{{/* The only object of a file. Takes root, file. */}}
{{- define "migsched.one" -}}
{{- toJson (first (include "migsched.load" . | fromJson).items) -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "migsched.labels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}{{ "\n" }}{{ end -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Objects as documents, with those labels. Takes root, items. */}}
{{- define "migsched.print" -}}
{{- $labels := include "migsched.labels" .root | fromYaml -}}
{{- range .items }}
{{- $_ := set .metadata "labels" (merge (dict) (.metadata.labels | default dict) $labels) }}
---
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* All objects of some files as they are. Takes root, files. */}}
{{- define "migsched.files" -}}
{{- $items := list -}}
{{- range .files }}{{ $items = concat $items (include "migsched.load" (dict "root" $.root "file" .) | fromJson).items }}{{ end -}}
{{- include "migsched.print" (dict "root" .root "items" $items) -}}
{{- end -}}

{{/* Labels and names of an object that only the chart has. Takes root, component, and name, namespace where there is one. */}}
{{- define "migsched.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  app.kubernetes.io/name: migsched
  app.kubernetes.io/component: {{ .component }}
  app.kubernetes.io/part-of: migsched
  {{- include "migsched.labels" .root | nindent 2 }}
{{- end -}}

{{/* An image's name. Takes image, tag. */}}
{{- define "migsched.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}{{ else }}{{ .image.repository }}:{{ .image.tag | default .tag }}{{ end -}}
{{- end -}}

{{/* The name of one of our images. Takes root, part (scheduler or agent). */}}
{{- define "migsched.ownImage" -}}
{{- $image := .root.Values.image -}}
{{- $named := dict "repository" (printf "%s-%s" $image.repository .part) "tag" $image.tag "digest" (get $image (printf "%sDigest" .part)) -}}
{{- include "migsched.image" (dict "image" $named "tag" .root.Chart.AppVersion) -}}
{{- end -}}

{{/* Environment variables of settings as JSON {"items": […]}. Takes settings, prefix. */}}
{{- define "migsched.environment" -}}
{{- $items := list -}}
{{- range $name, $value := .settings -}}
{{- $text := kindIs "string" $value | ternary $value (toJson $value) -}}
{{- $items = append $items (dict "name" (printf "%s%s" $.prefix (upper $name)) "value" $text) -}}
{{- end -}}
{{- toJson (dict "items" $items) -}}
{{- end -}}

{{/* The value of the n-th operation in the n-th patch of a component's kustomization, as JSON {"value": …}. Takes root, file,
patch, operation. */}}
{{- define "migsched.patched" -}}
{{- $component := include "migsched.one" . | fromJson -}}
{{- $operations := fromYamlArray (index $component.patches .patch).patch -}}
{{- toJson (dict "value" (index $operations .operation).value) -}}
{{- end -}}
