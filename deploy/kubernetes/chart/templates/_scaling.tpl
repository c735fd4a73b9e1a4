{{/* The trigger of an instance as an element of a list: (dict root instance slots name ofAllBuilds). Demand counts
     running work too; the temporal trigger sees backlog alone. A queue without a version counts all its builds. */}}
{{- define "outlast.trigger" -}}
{{- $root := .root -}}
{{- $instance := .instance -}}
{{- $types := ternary "workflow,activity" "activity" (has "workflows" $instance.roles) -}}
{{- $demand := printf "%s-demand.%s.svc" (include "outlast.fullname" $root) $root.Release.Namespace -}}
{{- $version := dict -}}
{{- if and $instance.versioned (not .ofAllBuilds) -}}
{{- $version = dict "workerDeploymentName" $root.Values.versioning.deploymentName "workerDeploymentBuildId" $instance.build -}}
{{- end -}}
{{- $type := $root.Values.scaling.trigger -}}
{{- $isJob := eq $instance.worker.kind "Job" -}}
{{- /* A ScaledJob has no tolerance: it starts ceil(demand / slots) Jobs. */ -}}
{{- $utilization := ternary 1.0 (float64 $root.Values.scaling.targetUtilization) $isJob -}}
{{- $target := mulf .slots $utilization -}}
{{- $tls := $root.Values.demand.tls -}}
{{- $metadata := dict -}}
{{- if eq $type "external" -}}
{{- $metadata = merge $version (dict "scalerAddress" (printf "%s:8071" $demand) "taskQueue" $instance.queue "queueTypes" $types "slotsPerWorker" (toString .slots) "targetUtilization" (mulf 100 $utilization | toString) "activationDemand" "0") -}}
{{- if $tls.secret -}}
{{- $_ := set $metadata "enableTLS" "true" -}}
{{- end -}}
{{- else if eq $type "metrics-api" -}}
{{- $query := printf "types=%s&slots=%v" $types .slots -}}
{{- if $version -}}
{{- $query = printf "deployment=%s&build_id=%s&%s" (urlquery $version.workerDeploymentName) (urlquery $instance.build) $query -}}
{{- end -}}
{{- $scheme := ternary "https" "http" (ne $tls.secret "") -}}
{{- $metadata = dict "url" (printf "%s://%s:8070/demand/%s?%s" $scheme $demand (urlquery $instance.queue) $query) "format" "json" "valueLocation" "demand" "targetValue" (toString $target) "activationTargetValue" "0" -}}
{{- if and $root.Values.demand.tokenSecret $tls.secret -}}
{{- $_ := set $metadata "authModes" "tls,bearer" -}}
{{- else if $root.Values.demand.tokenSecret -}}
{{- $_ := set $metadata "authMode" "bearer" -}}
{{- else if $tls.secret -}}
{{- $_ := set $metadata "authMode" "tls" -}}
{{- end -}}
{{- else -}}
{{- /* The worker controller fills in what is empty. */ -}}
{{- if $instance.managed -}}
{{- $version = dict "workerDeploymentName" "" "workerDeploymentBuildId" "" -}}
{{- end -}}
{{- $metadata = merge $version (dict "endpoint" $root.Values.temporal.address "namespace" (ternary "" $root.Values.temporal.namespace $instance.managed) "taskQueue" $instance.queue "queueTypes" $types "targetQueueSize" (max 1 (floor $target | int) | toString)) -}}
{{- with $root.Values.temporal.tls.serverName -}}
{{- $_ := set $metadata "tlsServerName" . -}}
{{- end -}}
{{- end -}}
- type: {{ $type }}
  {{- with .name }}
  name: {{ . }}
  {{- end }}
  metadata:
    {{- toYaml $metadata | nindent 4 }}
{{- if and (eq $type "temporal") (include "outlast.hasCredentials" $root) }}
  authenticationRef: {name: {{ include "outlast.fullname" $root }}-temporal}
{{- else if and (ne $type "temporal") (include "outlast.hasDemandCredentials" $root) }}
  authenticationRef: {name: {{ include "outlast.fullname" $root }}-demand}
{{- end }}
{{- end }}

{{- define "outlast.hasCredentials" -}}
{{- with .Values.temporal }}{{ if or .apiKeySecret .tls.clientSecret .tls.caSecret }}yes{{ end }}{{ end -}}
{{- end }}

{{- define "outlast.hasDemandCredentials" -}}
{{- with .Values.demand }}{{ if or .tokenSecret .tls.clientSecret }}yes{{ end }}{{ end -}}
{{- end }}

{{/* How a ScaledObject scales: (dict root min max sum). `sum` has the names of triggers that are added. */}}
{{- define "outlast.scaleSpec" -}}
{{- with .root.Values.scaling -}}
pollingInterval: {{ .pollingIntervalS }}
cooldownPeriod: {{ .cooldownS }}
minReplicaCount: {{ $.min }}
maxReplicaCount: {{ $.max }}
fallback:
  failureThreshold: {{ .fallback.failureThreshold }}
  replicas: {{ .fallback.replicas }}
  behavior: currentReplicasIfHigher
advanced:
  {{- if gt (len ($.sum | default list)) 1 }}
  # The HPA would take the largest of several triggers, and these servers answer all of them.
  scalingModifiers:
    formula: {{ join " + " $.sum }}
    target: {{ $.target | quote }}
  {{- end }}
  horizontalPodAutoscalerConfig:
    behavior:
      scaleUp:
        stabilizationWindowSeconds: 0
        policies: [{type: Pods, value: {{ .scaleUpPods }}, periodSeconds: 15}]
      scaleDown:
        stabilizationWindowSeconds: {{ .stabilizationS }}
        policies: [{type: Pods, value: 1, periodSeconds: {{ .scaleDownPeriodS }}}]
{{- end }}
{{- end }}

{{/* What the demand service watches: the queue of each worker, with its version and its slots. */}}
{{- define "outlast.demandEnv" -}}
{{- $versions := list -}}
{{- $queues := list -}}
{{- $slots := dict -}}
{{- range include "outlast.instances" . | fromJsonArray -}}
{{- $_ := set $slots .queue (int .worker.slots) -}}
{{- if .versioned -}}
{{- $deployment := ternary (printf "%s/%s" $.Release.Namespace .component) $.Values.versioning.deploymentName .managed -}}
{{- $versions = append $versions (dict "task_queue" .queue "deployment_name" $deployment "build_id" .build) -}}
{{- else -}}
{{- $queues = append $queues .queue -}}
{{- end -}}
{{- end -}}
- {name: OUTLAST_DEMAND__VERSIONS, value: {{ $versions | uniq | toJson | quote }}}
- {name: OUTLAST_DEMAND__QUEUES, value: {{ $queues | uniq | toJson | quote }}}
- {name: OUTLAST_DEMAND__SLOTS, value: {{ $slots | toJson | quote }}}
{{- end }}

{{/* Who may query the demand service. */}}
{{- define "outlast.demandAccess" -}}
{{- with .Values.demand }}
{{- if .tokenSecret }}
- name: OUTLAST_DEMAND__TOKEN
  valueFrom: {secretKeyRef: {name: {{ .tokenSecret }}, key: {{ .tokenKey }}}}
{{- end }}
{{- if .tls.secret }}
- {name: OUTLAST_DEMAND__TLS__CERT, value: /etc/outlast-demand/tls.crt}
- {name: OUTLAST_DEMAND__TLS__KEY, value: /etc/outlast-demand/tls.key}
{{- end }}
{{- if .tls.clientSecret }}
- {name: OUTLAST_DEMAND__TLS__CLIENT_CA, value: /etc/outlast-demand/ca.crt}
{{- end }}
{{- end }}
{{- end }}
