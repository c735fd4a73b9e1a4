{{- define "outlast.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* A tag as part of an object's name. */}}
{{- define "outlast.slug" -}}
{{- regexReplaceAll "[^a-z0-9-]+" (lower .) "-" | trunc 20 | trimAll "-" -}}
{{- end }}

{{/* Labels of an object: (list $ component). */}}
{{- define "outlast.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ include "outlast.selector" . }}
{{- end }}

{{- define "outlast.selector" -}}
app.kubernetes.io/name: outlast
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "outlast.image" -}}
{{ (index . 0).Values.image.repository }}:{{ index . 1 }}
{{- end }}

{{- define "outlast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "outlast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What every pod has beside its containers: (dict root component priority serviceAccount grace). */}}
{{- define "outlast.podCommon" -}}
serviceAccountName: {{ .serviceAccount }}
automountServiceAccountToken: false
# Kubernetes would set OUTLAST_…_PORT for the Services of this release.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .grace }}
{{- with .priority | default .root.Values.priorityClass.name }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
{{- include "outlast.podSecurity" . | nindent 2 }}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
{{- include "outlast.selector" (list $.root $.component) | nindent 8 }}
{{- end }}
{{- end }}

{{/* Every set of pods that workers run in, as JSON: one for each worker and each build that it has. */}}
{{- define "outlast.instances" -}}
{{- $queues := dict "workflows" "agents" "tools" "tools" "generate" "generate" -}}
{{- $found := list -}}
{{- range $name, $given := .Values.workers -}}
{{- $worker := mergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy $given) -}}
{{- if $worker.enabled -}}
{{- $versioned := and $.Values.versioning.enabled $worker.versioned -}}
{{- $managed := and $versioned $.Values.workerController.enabled -}}
{{- $builds := list $.Values.image.tag -}}
{{- if and $versioned (not $managed) -}}
{{- $builds = concat $builds ($.Values.versioning.previous | default list) -}}
{{- end -}}
{{- $component := printf "%s-%s" (include "outlast.fullname" $) $name -}}
{{- range $build := $builds -}}
{{- $own := and $versioned (not $managed) -}}
{{- $found = append $found (dict
    "name" $name
    "component" $component
    "object" (ternary (printf "%s-%s" $component (include "outlast.slug" $build)) $component $own)
    "build" $build
    "isPrevious" (ne $build $.Values.image.tag)
    "versioned" $versioned
    "managed" $managed
    "queue" ($worker.queue | default (get $queues $worker.role))
    "isScaled" (and (ne $.Values.scaling.trigger "none") $worker.scale.enabled)
    "worker" $worker) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}

{{/* The model servers that workers ask, by how they ask: a JSON list without repeats. */}}
{{- define "outlast.modelServers" -}}
{{- $found := list -}}
{{- range include "outlast.instances" . | fromJsonArray -}}
{{- if eq .worker.role "generate" -}}
{{- $found = append $found .worker.modelServer -}}
{{- end -}}
{{- end -}}
{{- $found | uniq | toJson -}}
{{- end }}

{{/* The port of a URL or of host:port. */}}
{{- define "outlast.port" -}}
{{- $url := ternary . (printf "none://%s" .) (contains "://" .) | urlParse -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $port | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- end }}
