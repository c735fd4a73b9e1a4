{{/* The trigger of an instance as an element of a list: (dict root instance slots). Demand counts running work
     too; the temporal trigger sees backlog alone. */}}
{{- define "outlast.trigger" -}}
{{- $root := .root -}}
{{- $instance := .instance -}}
{{- $types := ternary "workflow,activity" "activity" (eq $instance.worker.role "workflows") -}}
{{- $demand := printf "%s-demand.%s.svc" (include "outlast.fullname" $root) $root.Release.Namespace -}}
{{- $version := dict -}}
{{- if $instance.versioned -}}
{{- $version = dict "workerDeploymentName" $root.Values.versioning.deploymentName "workerDeploymentBuildId" $instance.build -}}
{{- end -}}
{{- $type := $root.Values.scaling.trigger -}}
{{- $metadata := dict -}}
{{- if eq $type "external" -}}
{{- $metadata = merge $version (dict "scalerAddress" (printf "%s:8071" $demand) "taskQueue" $instance.queue "queueTypes" $types "slotsPerWorker" (toString .slots) "activationDemand" "0") -}}
{{- else if eq $type "metrics-api" -}}
{{- $query := printf "types=%s&slots=%v" $types .slots -}}
{{- if $instance.versioned -}}
{{- $query = printf "deployment=%s&build_id=%s&%s" (urlquery $version.workerDeploymentName) (urlquery $instance.build) $query -}}
{{- end -}}
{{- $metadata = dict "url" (printf "http://%s:8070/demand/%s?%s" $demand (urlquery $instance.queue) $query) "format" "json" "valueLocation" "demand" "targetValue" (toString .slots) "activationTargetValue" "0" -}}
{{- else -}}
{{- /* The worker controller fills in what is empty. */ -}}
{{- if $instance.managed -}}
{{- $version = dict "workerDeploymentName" "" "workerDeploymentBuildId" "" -}}
{{- end -}}
{{- $metadata = merge $version (dict "endpoint" $root.Values.temporal.address "namespace" (ternary "" $root.Values.temporal.namespace $instance.managed) "taskQueue" $instance.queue "queueTypes" $types "targetQueueSize" (toString .slots)) -}}
{{- end -}}
- type: {{ $type }}
  metadata:
    {{- toYaml $metadata | nindent 4 }}
{{- if and (eq $type "temporal") (include "outlast.hasCredentials" $root) }}
  authenticationRef: {name: {{ include "outlast.fullname" $root }}-temporal}
{{- end }}
{{- end }}

{{- define "outlast.hasCredentials" -}}
{{- with .Values.temporal }}{{ if or .apiKeySecret .tls.clientSecret .tls.caSecret }}yes{{ end }}{{ end -}}
{{- end }}

{{/* How a ScaledObject scales: (dict root min max). */}}
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

{{/* The least replicas of an instance. */}}
{{- define "outlast.minReplicas" -}}
{{ ternary .root.Values.versioning.previousReplicas .instance.worker.scale.min .instance.isPrevious }}
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
- {name: OUTLAST_DEMAND__HOST, value: 0.0.0.0}
- {name: OUTLAST_DEMAND__VERSIONS, value: {{ $versions | uniq | toJson | quote }}}
- {name: OUTLAST_DEMAND__QUEUES, value: {{ $queues | uniq | toJson | quote }}}
- {name: OUTLAST_DEMAND__SLOTS, value: {{ $slots | toJson | quote }}}
{{- if .Values.demand.deletionCost }}
- {name: OUTLAST_DEMAND__PODS__ENABLED, value: "true"}
- {name: OUTLAST_DEMAND__PODS__PREFIX, value: {{ include "outlast.fullname" . }}-}
{{- end }}
{{- end }}
