{{/* A vLLM server: (dict root isSidecar). As a sidecar it starts before the worker and ends after it. */}}
{{- define "outlast.vllmContainer" -}}
{{- $vllm := .root.Values.vllm -}}
name: vllm
image: {{ $vllm.image }}
imagePullPolicy: {{ $vllm.pullPolicy }}
{{- if .isSidecar }}
restartPolicy: Always
{{- end }}
command: [vllm, serve]
args:
  - {{ $vllm.model | quote }}
  - --served-model-name={{ $vllm.servedModelName }}
  # The NetworkPolicy closes the port of a sidecar, and the kubelet probes it.
  - --host={{ .root.Values.bindHost }}
  - --port=8000
  {{- if gt (int $vllm.gpus) 1 }}
  - --tensor-parallel-size={{ $vllm.gpus }}
  {{- end }}
  # A sidecar is stopped after its worker has ended, when no request is in flight.
  - --shutdown-timeout={{ ternary 2 $vllm.shutdownTimeoutS .isSidecar }}
  # As in docs/generation.md. The settings of the workers match.
  - --structured-outputs-config.backend
  - guidance
  - --structured-outputs-config.disable_any_whitespace
  - "true"
  - --enable-prompt-tokens-details
  {{- range $vllm.args }}
  - {{ . | quote }}
  {{- end }}
env:
  - {name: HOME, value: /cache}
  - {name: HF_HOME, value: /cache/huggingface}
  # Read-only, if it is a claim. All else that vLLM writes is below HOME.
  - {name: HF_HUB_CACHE, value: /weights/hub}
  - {name: HF_HUB_OFFLINE, value: {{ ternary "0" "1" $vllm.download | quote }}}
  - {name: VLLM_CACHE_ROOT, value: /cache/vllm}
  - {name: TRITON_CACHE_DIR, value: /cache/triton}
  - {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
  # torch asks for the name of a user that the image does not know.
  - {name: USER, value: outlast}
  - {name: VLLM_NO_USAGE_STATS, value: "1"}
  {{- with $vllm.tokenSecret }}
  - name: HF_TOKEN
    valueFrom: {secretKeyRef: {name: {{ . }}, key: token}}
  {{- end }}
{{- $probe := dict "httpGet" (dict "path" "/health" "port" 8000) }}
{{- if not .isSidecar }}
ports:
  - {name: http, containerPort: 8000}
lifecycle:
  preStop: {sleep: {seconds: {{ $vllm.preStopS }}}}
{{- end }}
# Nothing ends a server that loads; a load that takes too long starts anew.
startupProbe:
  {{- toYaml $probe | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ div (add $vllm.startWithinS 9) 10 }}
readinessProbe:
  {{- toYaml $probe | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  {{- toYaml $probe | nindent 2 }}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
resources:
  {{- $gpu := ternary (dict $vllm.gpuResource $vllm.gpus) (dict) (gt (int $vllm.gpus) 0) }}
  requests:
    {{- merge (dict) $vllm.resources.requests $gpu | toYaml | nindent 4 }}
  limits:
    {{- merge (dict) $vllm.resources.limits $gpu | toYaml | nindent 4 }}
securityContext:
  {{- include "outlast.containerSecurity" . | nindent 2 }}
volumeMounts:
  - {name: vllm-weights, mountPath: /weights{{ if $vllm.weights.existingClaim }}, readOnly: true{{ end }}}
  - {name: vllm-cache, mountPath: /cache}
  - {name: vllm-shm, mountPath: /dev/shm}
  - {name: vllm-tmp, mountPath: /tmp}
{{- end }}

{{- define "outlast.vllmVolumes" -}}
{{- with .Values.vllm -}}
- name: vllm-weights
  {{- if .weights.existingClaim }}
  persistentVolumeClaim: {claimName: {{ .weights.existingClaim }}, readOnly: true}
  {{- else }}
  emptyDir: {sizeLimit: {{ .weights.size }}}
  {{- end }}
- name: vllm-cache
  {{- if .compileCache.existingClaim }}
  persistentVolumeClaim: {claimName: {{ .compileCache.existingClaim }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ .compileCache.size }}}
  {{- end }}
- {name: vllm-shm, emptyDir: {medium: Memory, sizeLimit: {{ .sharedMemory }}}}
- {name: vllm-tmp, emptyDir: {sizeLimit: 4Gi}}
{{- end }}
{{- end }}
