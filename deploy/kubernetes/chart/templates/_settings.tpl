{{/* outlast.toml of a part of the release: (list $ part), a role, "callback", "gateway" or "demand". What tells and asks people is
     for the parts that do it: a tool could sign a decision otherwise. */}}
{{- define "outlast.settings" -}}
{{- $settings := deepCopy (index . 0).Values.settings -}}
{{- if not (has (index . 1) (list "workflows" "all" "callback")) -}}
{{- $settings = omit $settings "audiences" "callback" -}}
{{- end -}}
{{- if ne (index . 1) "gateway" -}}
{{- $settings = omit $settings "gateway" -}}
{{- end -}}
{{- toToml $settings -}}
{{- end }}

{{/* The ConfigMap of the build. The pods of another build may not know every key of this one. */}}
{{- define "outlast.settingsName" -}}
{{ include "outlast.fullname" . }}-{{ include "outlast.slug" .Values.image.tag }}
{{- end }}

{{/* The Temporal connection, as temporalio.envconfig reads it. */}}
{{- define "outlast.temporalEnv" -}}
{{- with .Values.temporal -}}
- {name: TEMPORAL_ADDRESS, value: {{ .address | quote }}}
- {name: TEMPORAL_NAMESPACE, value: {{ .namespace | quote }}}
{{- if .apiKeySecret }}
- name: TEMPORAL_API_KEY
  valueFrom: {secretKeyRef: {name: {{ .apiKeySecret }}, key: {{ .apiKeyKey }}}}
{{- end }}
{{- with .tls.serverName }}
- {name: TEMPORAL_TLS_SERVER_NAME, value: {{ . | quote }}}
{{- end }}
{{- if .tls.clientSecret }}
- {name: TEMPORAL_TLS_CLIENT_CERT_PATH, value: /etc/temporal/client/tls.crt}
- {name: TEMPORAL_TLS_CLIENT_KEY_PATH, value: /etc/temporal/client/tls.key}
{{- end }}
{{- end }}
{{ include "outlast.trustEnv" . }}
{{- end }}

{{/* What the worker controller does not tell its pods: that there is TLS, and the private CA. */}}
{{- define "outlast.trustEnv" -}}
{{- with .Values.temporal -}}
{{- if or .tls.enabled .apiKeySecret .tls.clientSecret .tls.caSecret }}
- {name: TEMPORAL_TLS, value: "true"}
{{- end }}
{{- if .tls.caSecret }}
- {name: TEMPORAL_TLS_SERVER_CA_CERT_PATH, value: /etc/temporal/ca/ca.crt}
{{- end }}
{{- end }}
{{- end }}

{{/* Variables from Secrets whose names begin with one of: (list $ prefix…). */}}
{{- define "outlast.secretEnv" -}}
{{- $prefixes := rest . -}}
{{- range (first .).Values.secretEnv }}
{{- $name := .name }}
{{- $wanted := false }}
{{- range $prefixes }}
{{- $wanted = or $wanted (hasPrefix . $name) }}
{{- end }}
{{- if $wanted }}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- end }}

{{/* Volumes of a process of ours: (list $ part), the part as for outlast.settings. */}}
{{- define "outlast.volumes" -}}
{{- $root := index . 0 -}}
- name: settings
  configMap:
    name: {{ include "outlast.settingsName" $root }}
    items: [{key: {{ index . 1 }}.toml, path: outlast.toml}]
{{ include "outlast.temporalVolumes" $root }}
{{- end }}

{{/* What a process needs that has no settings beside the connection. */}}
{{- define "outlast.temporalVolumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 1Gi}}
{{- with .Values.temporal.tls.clientSecret }}
- {name: temporal-client, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with .Values.temporal.tls.caSecret }}
- name: temporal-ca
  secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}

{{- define "outlast.volumeMounts" -}}
- {name: settings, mountPath: /etc/outlast, readOnly: true}
{{ include "outlast.temporalMounts" . }}
{{- end }}

{{- define "outlast.temporalMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- with .Values.temporal.tls.clientSecret }}
- {name: temporal-client, mountPath: /etc/temporal/client, readOnly: true}
{{- end }}
{{- with .Values.temporal.tls.caSecret }}
- {name: temporal-ca, mountPath: /etc/temporal/ca, readOnly: true}
{{- end }}
{{- end }}
