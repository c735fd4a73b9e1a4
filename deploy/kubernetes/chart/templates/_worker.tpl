{{/* The pod of a worker: (dict root instance). */}}
{{- define "outlast.workerPod" -}}
{{- $root := .root -}}
{{- $instance := .instance -}}
{{- $worker := $instance.worker -}}
{{- $isJob := eq $worker.kind "Job" -}}
metadata:
  labels:
    {{- include "outlast.selector" (list $root $instance.component) | nindent 4 }}
    {{- if not $instance.managed }}
    outlast.dev/build: {{ include "outlast.slug" $instance.build | quote }}
    {{- end }}
    {{- with $worker.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    outlast.dev/settings: {{ include "outlast.settings" (list $root $worker.role) | sha256sum | trunc 16 | quote }}
    {{- include "outlast.secretsRevision" $root | nindent 4 }}
    {{- if $isJob }}
    cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
    karpenter.sh/do-not-disrupt: "true"
    {{- end }}
    {{- with $worker.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "outlast.podCommon" (dict
      "root" $root
      "component" $instance.component
      "serviceAccount" $instance.component
      "priority" $worker.priorityClassName
      "grace" (add $worker.drainS 15)) | nindent 2 }}
  {{- if $isJob }}
  restartPolicy: Never
  {{- end }}
  {{- $gpuNode := eq $worker.modelServer "sidecar" }}
  {{- with $worker.nodeSelector | default (ternary $root.Values.vllm.nodeSelector (dict) $gpuNode) }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $worker.tolerations | default (ternary $root.Values.vllm.tolerations (list) $gpuNode) }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $worker.affinity | default (ternary $root.Values.vllm.affinity (dict) $gpuNode) }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $worker.runtimeClassName | default (ternary $root.Values.vllm.runtimeClassName "" $gpuNode) }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if eq $worker.modelServer "sidecar" }}
  initContainers:
    - {{ include "outlast.vllmContainer" (dict "root" $root "isSidecar" true) | nindent 6 | trim }}
  {{- end }}
  containers:
    - name: worker
      image: {{ include "outlast.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [run]
      env:
        {{- include "outlast.workerEnv" . | trim | nindent 8 }}
      {{- with $worker.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: health, containerPort: 8081}
        {{- if $root.Values.monitoring.enabled }}
        - {name: metrics, containerPort: 8082}
        {{- end }}
      # It connects to Temporal within 30 s or ends: after that its event loop answers.
      startupProbe:
        httpGet: {path: /livez, port: health}
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /healthz, port: health}
        periodSeconds: 5
        timeoutSeconds: 2
      livenessProbe:
        httpGet: {path: /livez, port: health}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      resources:
        {{- toYaml $worker.resources | nindent 8 }}
      securityContext:
        {{- include "outlast.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "outlast.volumeMounts" $root | nindent 8 }}
        {{- with $worker.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "outlast.volumes" (list $root $worker.role) | nindent 4 }}
    {{- with $worker.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if eq $worker.modelServer "sidecar" }}
    {{- include "outlast.vllmVolumes" $root | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "outlast.workerEnv" -}}
{{- $root := .root -}}
{{- $instance := .instance -}}
{{- $worker := $instance.worker -}}
{{- if $instance.managed -}}
{{ include "outlast.trustEnv" $root }}
{{- else -}}
{{ include "outlast.temporalEnv" $root }}
{{- if $instance.versioned }}
- {name: TEMPORAL_DEPLOYMENT_NAME, value: {{ $root.Values.versioning.deploymentName | quote }}}
- {name: TEMPORAL_WORKER_BUILD_ID, value: {{ $instance.build | quote }}}
{{- else }}
# The image names a version: empty takes it back.
- {name: TEMPORAL_DEPLOYMENT_NAME, value: ""}
- {name: TEMPORAL_WORKER_BUILD_ID, value: ""}
{{- end }}
{{- end }}
- {name: OUTLAST_CONFIG, value: /etc/outlast/outlast.toml}
- {name: OUTLAST_ROLES, value: {{ join "," $instance.roles | quote }}}
{{- if ne $worker.role "generate" }}
- {name: OUTLAST_AGENTS, value: {{ join "," $root.Values.agents | quote }}}
{{- end }}
{{- range $instance.roles }}
- {name: OUTLAST_QUEUES__{{ upper . }}, value: {{ $instance.queue | quote }}}
- {name: OUTLAST_CONCURRENCY__{{ upper . }}, value: {{ $worker.slots | quote }}}
{{- end }}
{{- if eq $worker.role "workflows" }}
{{- range list "generate" "tools" }}
# Where runs without a route send such steps.
- {name: OUTLAST_QUEUES__{{ upper . }}, value: {{ include "outlast.stepQueue" (dict "root" $root "role" .) | quote }}}
{{- end }}
{{- end }}
- {name: OUTLAST_DRAIN_S, value: {{ $worker.drainS | quote }}}
- {name: OUTLAST_HEALTH__HOST, value: {{ $root.Values.bindHost | quote }}}
- {name: OUTLAST_HEALTH__PORT, value: "8081"}
{{- if $root.Values.monitoring.enabled }}
- {name: OUTLAST_METRICS__HOST, value: {{ $root.Values.bindHost | quote }}}
- {name: OUTLAST_METRICS__PORT, value: "8082"}
{{- end }}
{{- if eq $worker.kind "Job" }}
- {name: OUTLAST_IDLE_EXIT_S, value: {{ $worker.idleExitS | quote }}}
- {name: OUTLAST_MAX_LIFE_S, value: {{ $worker.maxLifeS | quote }}}
{{- end }}
{{- if has "generate" $instance.roles }}
{{- if ne $worker.modelServer "external" }}
{{- $host := ternary "127.0.0.1" (printf "%s-vllm" (include "outlast.fullname" $root)) (eq $worker.modelServer "sidecar") }}
- {name: OUTLAST_MODEL__URL, value: "http://{{ $host }}:8000/v1"}
- {name: OUTLAST_MODEL__NAME, value: {{ $root.Values.vllm.servedModelName | quote }}}
- {name: OUTLAST_MODEL__API, value: vllm}
- {name: OUTLAST_MODEL__ENGINE, value: guidance}
- {name: OUTLAST_MODEL__START_WITHIN_S, value: {{ $root.Values.vllm.startWithinS | quote }}}
{{- end }}
{{- include "outlast.secretEnv" (list $root "OUTLAST_MODEL__" "OUTLAST_SERVERS__" "OUTLAST_EVENTS__") }}
{{- include "outlast.eventsEnv" $root }}
{{- end }}
{{- if has "workflows" $instance.roles }}
{{- include "outlast.secretEnv" (list $root "OUTLAST_CALLBACK__" "OUTLAST_AUDIENCES__") }}
{{- end }}
{{- with $worker.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A worker is ready when its model is: (dict root instance). */}}
{{- define "outlast.progressDeadlineS" -}}
{{- $own := int .instance.worker.progressDeadlineS -}}
{{- ternary $own (max $own (add .root.Values.vllm.startWithinS 600)) (eq .instance.worker.modelServer "external") -}}
{{- end }}

{{/* The gateways of the release, to which workers push the text of answers: each pod, not their Service. */}}
{{- define "outlast.eventsEnv" -}}
{{- $gateway := .Values.gateway -}}
{{- if and $gateway.enabled $gateway.eventsTokenSecret }}
{{- $name := printf "%s-gateway" (include "outlast.fullname" .) }}
{{- $urls := list }}
{{- range until (int $gateway.replicas) }}
{{- $urls = append $urls (printf "http://%s-%d.%s-pods.%s.svc:8060" $name . $name $.Release.Namespace) }}
{{- end }}
- {name: OUTLAST_EVENTS__URLS, value: {{ $urls | toJson | quote }}}
- name: OUTLAST_EVENTS__TOKEN
  valueFrom: {secretKeyRef: {name: {{ $gateway.eventsTokenSecret }}, key: {{ $gateway.eventsTokenKey }}}}
{{- end }}
{{- end }}
