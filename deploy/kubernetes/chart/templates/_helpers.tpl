{{- define "outlast.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* A tag as part of an object's name. Where that changes the tag, a digest keeps two tags apart. */}}
{{- define "outlast.slug" -}}
{{- $clean := regexReplaceAll "[^a-z0-9-]+" (lower .) "-" | trimAll "-" -}}
{{- if and (eq $clean .) (le (len $clean) 20) -}}
{{- $clean -}}
{{- else -}}
{{- printf "%s-%s" ($clean | trunc 13 | trimAll "-") (sha256sum . | trunc 6) -}}
{{- end -}}
{{- end }}

{{/* Annotations of what belongs to a build: neither an upgrade nor a rollback takes the workers of open runs away. */}}
{{- define "outlast.kept" -}}
helm.sh/resource-policy: keep
argocd.argoproj.io/sync-options: Prune=false
argocd.argoproj.io/compare-options: IgnoreExtraneous
{{- end }}

{{/* Labels that KEDA must not copy to the HPA or the Jobs: GitOps tools would take those for objects of the chart. */}}
{{- define "outlast.ownLabels" -}}
app.kubernetes.io/instance,app.kubernetes.io/managed-by,helm.sh/chart
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
{{- with .Values.image -}}
{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
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
{{- toYaml .root.Values.podSecurityContext | nindent 2 }}
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

{{/* Every set of pods that workers run in, as JSON: one for each worker. */}}
{{- define "outlast.instances" -}}
{{- $queues := dict "workflows" "agents" "tools" "tools" "generate" "generate" "all" "agents" -}}
{{- $found := list -}}
{{- range $name, $given := .Values.workers -}}
{{- $worker := mergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy $given) -}}
{{- if and (eq $worker.kind "Job") (not (hasKey (dig "scale" dict $given) "min")) -}}
{{- $_ := set $worker.scale "min" 0 -}}
{{- end -}}
{{- if $worker.enabled -}}
{{- $versioned := and $.Values.versioning.enabled $worker.versioned -}}
{{- $managed := and $versioned $.Values.workerController.enabled -}}
{{- $component := printf "%s-%s" (include "outlast.fullname" $) $name -}}
{{- $own := and $versioned (not $managed) -}}
{{- $found = append $found (dict
    "name" $name
    "component" $component
    "object" (ternary (printf "%s-%s" $component (include "outlast.slug" $.Values.image.tag)) $component $own)
    "build" $.Values.image.tag
    "roles" (ternary (list "workflows" "tools" "generate") (list $worker.role) (eq $worker.role "all"))
    "versioned" $versioned
    "managed" $managed
    "isOfBuild" $own
    "isKept" (and $own $.Values.versioning.keep)
    "queue" ($worker.queue | default (get $queues $worker.role))
    "isScaled" (and (ne $.Values.scaling.trigger "none") $worker.scale.enabled)
    "worker" $worker) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}

{{/* The annotation of pods that changes when Secrets have been rotated. */}}
{{- define "outlast.secretsRevision" -}}
{{- with .Values.secretsRevision }}
outlast.dev/secrets: {{ . | sha256sum | trunc 16 | quote }}
{{- end }}
{{- end }}

{{/* The annotations of a worker's object: (dict instance annotations). */}}
{{- define "outlast.objectAnnotations" -}}
{{- $annotations := .annotations | default dict -}}
{{- if .instance.isKept -}}
{{- $annotations = merge (include "outlast.kept" . | fromYaml) $annotations -}}
{{- end -}}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The labels of a worker's object: (dict root instance). */}}
{{- define "outlast.objectLabels" -}}
{{ include "outlast.labels" (list .root .instance.component) }}
{{- if .instance.isOfBuild }}
outlast.dev/build: {{ include "outlast.slug" .instance.build | quote }}
{{- end }}
{{- end }}

{{/* The model servers that workers ask, by how they ask: a JSON list without repeats. */}}
{{- define "outlast.modelServers" -}}
{{- $found := list -}}
{{- range include "outlast.instances" . | fromJsonArray -}}
{{- if has "generate" .roles -}}
{{- $found = append $found .worker.modelServer -}}
{{- end -}}
{{- end -}}
{{- $found | uniq | toJson -}}
{{- end }}

{{/* The queue that runs send steps of a role to without a route: (dict root role). Empty: the role's default. */}}
{{- define "outlast.stepQueue" -}}
{{- $polled := list -}}
{{- range include "outlast.instances" .root | fromJsonArray -}}
{{- if has $.role .roles -}}
{{- $polled = append $polled .queue -}}
{{- end -}}
{{- end -}}
{{- if and $polled (not (has .role $polled)) -}}
{{- first $polled -}}
{{- else -}}
{{- .role -}}
{{- end -}}
{{- end }}

{{/* The port of a URL or of host:port. */}}
{{- define "outlast.port" -}}
{{- $url := ternary . (printf "none://%s" .) (contains "://" .) | urlParse -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $port | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- end }}
